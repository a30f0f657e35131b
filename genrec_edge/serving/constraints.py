"""Which items a request may return, and with what bias: the mask of the search. Knows catalogs, not models."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.namesakes import label, question
from genrec_edge.coordinates import CatalogRow, CatalogRows, TriePosition
from genrec_edge.errors import NothingToRecommendError, UsageError, several
from genrec_edge.records import Interaction, Match

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.catalog.resolver import TitleResolver
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.options import Request
    from genrec_edge.records import Item, Reading


_MAX_SHOWN = 5
"""Names a message lists; a caller may exclude thousands."""


def resolve_history(
    request: Request, catalog: Catalog, resolver: TitleResolver
) -> tuple[list[Match], CatalogRows, CatalogRows]:
    """Return what the history means: a match for each entry, the rows of all seen items, and those for the prompt.

    The prompt has each item once, where it was seen last, oldest first; what is rated below `min_rating` is left out.

    Raises:
        NothingToRecommendError: there is a history, and nothing of it is in the catalog.
    """
    history = in_order(request.history)
    matches = resolver.resolve_history(history)
    seen: list[CatalogRow] = []
    liked: list[CatalogRow] = []
    for interaction, match in zip(history, matches, strict=True):
        if match.item is None:
            continue
        seen.append(match.item.row)
        if request.min_rating is None or interaction.rating is None or interaction.rating >= request.min_rating:
            liked.append(match.item.row)
    require_one(matches, "titles of the history", catalog)
    latest_once = list(dict.fromkeys(reversed(liked)))[::-1]
    return matches, CatalogRows(np.array(seen, np.int64)), CatalogRows(np.array(latest_once, np.int64))


def require_one(matches: Sequence[Match], what: str, catalog: Catalog) -> None:
    """Raise NothingToRecommendError if there are names and none of them means one item of the catalog."""
    if not matches or any(match.item is not None for match in matches):
        return
    unclear = [_asked(match) for match in matches if match.method == "ambiguous"]
    for_sure = f" for sure: {several(unclear, most=_MAX_SHOWN, separator=', ')}" if unclear else ""
    raise NothingToRecommendError(
        f"none of the {len(matches)} {what} is in the catalog {catalog.name!r}{for_sure}",
        hint="give its year" if unclear else "`genrec-edge resolve TITLE` shows what is near",
    )


def found_and_others(matches: Iterable[Match]) -> tuple[tuple[Match, ...], tuple[Match, ...]]:
    """Return the matches with an item, and those without."""
    listed = tuple(matches)
    return tuple(m for m in listed if m.item is not None), tuple(m for m in listed if m.item is None)


@dataclass(frozen=True, slots=True)
class ConstrainedRequest:
    """A request as it is searched for, and what had to be decided.

    Attributes:
        request: with the conditions of its intention in `where`, and the ids of the items that it names.
        loosened: the conditions that were given up.
        named: what the candidates and the items to exclude were understood as.
        left_out: candidates that are not in the catalog.
    """

    request: Request
    loosened: tuple[str, ...] = ()
    named: tuple[Match, ...] = ()
    left_out: tuple[Match, ...] = ()


def constrain(
    request: Request,
    reading: Reading | None,
    seen: CatalogRows,
    catalog: Catalog,
    trie: TitleTrie,
    resolver: TitleResolver,
) -> ConstrainedRequest:
    """Return a request as it is searched for.

    Of "matching", the conditions of the intention join the user's own; while fewer than k items satisfy all, the one
    that the fewest items satisfy is given up. Of "reranking", all candidates that the catalog has are ranked.

    Raises:
        NothingToRecommendError: no candidate is in the catalog, or an excluded item or one to choose is not.
        UsageError: `where` is not a valid condition.
    """
    excluded = resolve_items(request.exclude, "exclude", catalog, resolver)
    request = replace(request, exclude=_ids_of(excluded))
    if request.task == "reranking":
        matches = _matches(request.candidates or (), catalog, resolver)
        require_one(matches, "candidates", catalog)
        found, left_out = found_and_others(matches)
        ids = _ids_of(found)
        request = replace(request, candidates=ids, k=len(ids), allow_seen=True)
        return ConstrainedRequest(request, named=(*found, *excluded), left_out=left_out)
    chosen = [] if request.candidates is None else resolve_items(request.candidates, "choose", catalog, resolver)
    request = request if request.candidates is None else replace(request, candidates=_ids_of(chosen))
    parts = list(reading.parts) if reading is not None and request.intent_where else []
    rarest_first = sorted(parts, key=lambda part: len(catalog.filter(part)))
    loosened: list[str] = []
    while parts and int(_allowed(_with(request, parts), seen, catalog, trie, resolver).sum()) < request.k:
        loosened.append(rarest_first.pop(0))
        parts.remove(loosened[-1])
    return ConstrainedRequest(_with(request, parts), tuple(loosened), (*chosen, *excluded))


def _ids_of(matches: Iterable[Match]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.id for item in items_of(matches)))


def _with(request: Request, parts: Sequence[str]) -> Request:
    if not parts:
        return request
    own = [] if request.where is None else [f"({request.where})"]
    return replace(request, where=" AND ".join([*own, *parts]))


def resolve_items(names: Sequence[str], verb: str, catalog: Catalog, resolver: TitleResolver) -> list[Match]:
    """Return the items named by id or by title; `verb` says in messages what they are for.

    Raises:
        NothingToRecommendError: one is not surely in the catalog.
    """
    matches = _matches(names, catalog, resolver)
    unknown = [m for m in matches if m.item is None]
    if unknown:
        named = several([_with_near(match) for match in unknown], most=_MAX_SHOWN, separator=", ")
        raise NothingToRecommendError(
            f"cannot {verb} what is not surely in the catalog {catalog.name!r}: {named}",
            hint="name an id or a title with its year; `genrec-edge resolve TITLE` shows what is near",
        )
    return matches


def items_of(matches: Iterable[Match]) -> list[Item]:
    """Return the items of matches that have one, in their order."""
    return [match.item for match in matches if match.item is not None]


def _matches(names: Sequence[str], catalog: Catalog, resolver: TitleResolver) -> list[Match]:
    by_id = catalog.by_ids(names)
    return [Match(n, by_id[n], "id", 1.0) if n in by_id else resolver.resolve(n) for n in names]


def position_bias(
    request: Request, seen: CatalogRows, catalog: Catalog, trie: TitleTrie, resolver: TitleResolver
) -> NDArray[np.float64]:
    """Return the bias of each position, (n_items,) in nats, -inf where the item is not allowed; at least k are allowed.

    An item with the very title of a seen or excluded one is the same to the reader, and goes with it.

    Raises:
        NothingToRecommendError: fewer than k items are allowed.
        NothingToRecommendError: an excluded item or a candidate is not surely in the catalog.
        UsageError: `where` is not a valid condition.
    """
    allowed = _allowed(request, seen, catalog, trie, resolver)
    n_allowed = int(allowed.sum())
    if request.k > n_allowed:
        n_fitting = int(_fitting(request, catalog, trie, resolver).sum())
        raise NothingToRecommendError(
            f"{request.k} items asked for, {n_allowed} allowed: of {trie.n_items:,} items {n_fitting:,} fit the "
            f"conditions, {n_fitting - n_allowed:,} of them are seen or excluded",
            hint=f"set `k` to at most {n_allowed}, or loosen the conditions" if n_allowed else "loosen the conditions",
        )
    bias = np.where(allowed, 0.0, -np.inf)
    biased = catalog.by_ids(request.bias)
    if unknown := [item_id for item_id in request.bias if item_id not in biased]:
        raise UsageError(f"no item {reprlib.repr(unknown[0])} in the catalog to give a bias to", hint="biases go by id")
    nats = {item.row: request.bias[item_id] for item_id, item in biased.items()}
    for position in trie.positions(CatalogRows(np.array(list(nats), np.int64))):
        bias[position] += nats[trie.row_at(position)]
    return bias


def _allowed(
    request: Request, seen: CatalogRows, catalog: Catalog, trie: TitleTrie, resolver: TitleResolver
) -> NDArray[np.bool_]:
    """Return which items may be returned, by position."""
    allowed = _fitting(request, catalog, trie, resolver)
    shut = _rows_of(request.exclude, "exclude", catalog, resolver)
    if not request.allow_seen:
        shut = CatalogRows(np.concatenate([shut, seen]))
    for position in trie.positions(shut):
        own = trie.leaf(TriePosition(int(position)))
        allowed[own.start : own.stop] = False
    return allowed


def _fitting(request: Request, catalog: Catalog, trie: TitleTrie, resolver: TitleResolver) -> NDArray[np.bool_]:
    """Return which items satisfy the conditions, seen or not."""
    fitting = np.ones(trie.n_items, bool)
    if request.where is not None:
        fitting &= trie.mask(catalog.filter(request.where))
    if request.candidates is not None:
        fitting &= trie.mask(_rows_of(request.candidates, "choose", catalog, resolver))
    return fitting


def _rows_of(names: Sequence[str], verb: str, catalog: Catalog, resolver: TitleResolver) -> CatalogRows:
    """Return the rows of items named by id or by title."""
    items = items_of(resolve_items(names, verb, catalog, resolver))
    return CatalogRows(np.array([item.row for item in items], np.int64))


def _with_near(match: Match) -> str:
    """Return what was written, and which items it may mean."""
    if match.method == "ambiguous":
        return _asked(match)
    near = " or ".join(map(label, match.candidates))
    return f"{_shown(match)} (perhaps {near})" if near else _shown(match)


def _asked(match: Match) -> str:
    return f"{_shown(match)} ({question(match.candidates)})"


def _shown(match: Match) -> str:
    return repr(match.input if len(match.input) <= 80 else f"{match.input[:77]}...")


def in_order(history: Sequence[str | Interaction]) -> list[Interaction]:
    """Return the history as interactions, oldest first; in the order given where one of them has no timestamp."""
    listed = [Interaction(title=entry) if isinstance(entry, str) else entry for entry in history]
    if any(interaction.timestamp is None for interaction in listed):
        return listed
    return sorted(listed, key=lambda interaction: interaction.timestamp or 0.0)
