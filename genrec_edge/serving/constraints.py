"""Which items a request may return, and with what bias: the mask of the search. Knows catalogs, not models."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import CatalogRow, CatalogRows, TriePosition
from genrec_edge.errors import NothingToRecommendError, UsageError, several
from genrec_edge.records import Interaction, Match

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    matches = [resolver.resolve_interaction(interaction) for interaction in history]
    seen: list[CatalogRow] = []
    liked: list[CatalogRow] = []
    for interaction, match in zip(history, matches, strict=True):
        if match.item is None:
            continue
        seen.append(match.item.row)
        if request.min_rating is None or interaction.rating is None or interaction.rating >= request.min_rating:
            liked.append(match.item.row)
    if history and not seen:
        raise NothingToRecommendError(
            f"none of the {len(history)} titles of the history is in the catalog {catalog.name!r}",
            hint="`genrec-edge resolve TITLE` shows what is near",
        )
    latest_once = list(dict.fromkeys(reversed(liked)))[::-1]
    return matches, CatalogRows(np.array(seen, np.int64)), CatalogRows(np.array(latest_once, np.int64))


@dataclass(frozen=True, slots=True)
class ConstrainedRequest:
    """A request with the conditions of its intention in `where`, and the conditions that were given up."""

    request: Request
    loosened: tuple[str, ...] = ()


def constrain(
    request: Request,
    reading: Reading | None,
    seen: CatalogRows,
    catalog: Catalog,
    trie: TitleTrie,
    resolver: TitleResolver,
) -> tuple[ConstrainedRequest, tuple[Match, ...]]:
    """Return a request as it is searched for, and the candidates that are not in the catalog.

    Of "matching", the conditions of the intention join the user's own; while fewer than k items satisfy all, the one
    that the fewest items satisfy is given up. Of "reranking", all candidates that the catalog has are ranked.

    Raises:
        NothingToRecommendError: no candidate is in the catalog.
        UsageError: `where` is not a valid condition.
    """
    if request.task == "reranking":
        matches = _matches(request.candidates or (), catalog, resolver)
        found = tuple(dict.fromkeys(m.item.id for m in matches if m.item is not None))
        left_out = tuple(m for m in matches if m.item is None)
        if not found:
            message = f"none of the {len(matches)} candidates is in the catalog {catalog.name!r}"
            raise NothingToRecommendError(message, hint="`genrec-edge resolve TITLE` shows what is near")
        return ConstrainedRequest(replace(request, candidates=found, k=len(found), allow_seen=True)), left_out
    parts = list(reading.parts) if reading is not None and request.intent_where else []
    rarest_first = sorted(parts, key=lambda part: len(catalog.filter(part)))
    loosened: list[str] = []
    while parts and int(_allowed(_with(request, parts), seen, catalog, trie, resolver).sum()) < request.k:
        loosened.append(rarest_first.pop(0))
        parts.remove(loosened[-1])
    return ConstrainedRequest(_with(request, parts), tuple(loosened)), ()


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


def items_of(names: Sequence[str], verb: str, catalog: Catalog, resolver: TitleResolver) -> list[Item]:
    """Return the items named by id or by title, in their order; `resolve_items` says what is raised."""
    return [match.item for match in resolve_items(names, verb, catalog, resolver) if match.item is not None]


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
    return CatalogRows(np.array([item.row for item in items_of(names, verb, catalog, resolver)], np.int64))


def _with_near(match: Match) -> str:
    """Return what was written, and which items it may mean."""
    name = repr(match.input if len(match.input) <= 80 else f"{match.input[:77]}...")
    near = [item.title if item.year is None else f"{item.title} ({item.year})" for item in match.candidates]
    return f"{name} (perhaps {' or '.join(near)})" if near else name


def in_order(history: Sequence[str | Interaction]) -> list[Interaction]:
    """Return the history as interactions, oldest first; in the order given where one of them has no timestamp."""
    listed = [Interaction(title=entry) if isinstance(entry, str) else entry for entry in history]
    if any(interaction.timestamp is None for interaction in listed):
        return listed
    return sorted(listed, key=lambda interaction: interaction.timestamp or 0.0)
