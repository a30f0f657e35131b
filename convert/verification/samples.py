"""Samples titles, prompts and histories for a verification, with a seed, and reads a test split.

Knows catalogs and prompts; tokenizes, but does not run a model.
"""

from __future__ import annotations

import random
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.catalog.resolver import TitleResolver
from genrec_edge.catalog.titles import model_titles
from genrec_edge.decoding import prompts
from genrec_edge.errors import CatalogError, UsageError, several
from genrec_edge.records import Interaction
from genrec_edge.storage.user_json import RepeatedKeyError, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.coordinates import TokenId
    from genrec_edge.engine.bindings import Model

MAX_SEQUENCE = 256
"""The maximum number of tokens of a sampled prompt: about 40 titles."""
HISTORY_LENGTH = 20
_TITLES_DRAWN = 64
_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class PromptSequences:
    """Prompts for the comparison of models. The first `start` tokens are the instruction, the same in all of them."""

    token_ids: tuple[tuple[TokenId, ...], ...]
    start: int


@dataclass(frozen=True, slots=True)
class HeldOutCase:
    """A held-out interaction: the history of a user, and the id of the item that came next."""

    history: tuple[Interaction, ...]
    target_id: str


@dataclass(frozen=True, slots=True)
class HeldOutCases:
    """The test split. `n_unresolved` titles of histories are not in the catalog and were left out."""

    cases: tuple[HeldOutCase, ...] = ()
    n_unresolved: int = 0


def draw_titles(catalog: Catalog, n: int, seed: int) -> list[str]:
    """Return up to `n` different titles of the catalog, in the form in which the model sees them."""
    spellings = list(dict.fromkeys(model_titles([(title, year) for _, title, year in catalog.titles()])))
    return _rng(seed).sample(spellings, min(n, len(spellings)))


def draw_sequences(
    model: Model, catalog: Catalog, n_positions: int, seed: int, *, n_ctx: int = MAX_SEQUENCE
) -> PromptSequences:
    """Return prompts like those of the recommender, with `n_positions` tokens after the instruction in total.

    A prompt has at most `MAX_SEQUENCE` tokens, and no more than `n_ctx`. Of the model only the vocabulary is used.

    Raises:
        CatalogError: no title is short enough for a prompt.
    """
    spellings = model_titles([(title, year) for _, title, year in catalog.titles()])
    instruction = model.tokenize_start(prompts.INSTRUCTION)
    max_tokens = min(MAX_SEQUENCE, n_ctx)
    rng = _rng(seed)
    sequences: list[tuple[TokenId, ...]] = []
    while n_positions > 0:
        drawn = [model.tokenize(title) for title in rng.sample(spellings, min(_TITLES_DRAWN, len(spellings)))]
        fitting = [ids for ids in drawn if len(instruction) + len(ids) < max_tokens]
        if not fitting:
            raise CatalogError(
                f"every sampled title of {catalog.path} is longer than the {max_tokens} tokens of a prompt",
                hint="give a `catalog` with shorter titles",
            )
        token_ids, _ = prompts.build_prompt(instruction, fitting, end_id=model.newline_id, max_tokens=max_tokens)
        sequences.append(tuple(token_ids[: len(instruction) + n_positions]))
        n_positions -= len(sequences[-1]) - len(instruction)
    return PromptSequences(tuple(sequences), len(instruction))


def draw_histories(catalog: Catalog, n: int, k: int, seed: int) -> list[tuple[Interaction, ...]]:
    """Return `n` histories of `HISTORY_LENGTH` different items, or fewer if otherwise less than `k` items remained.

    Raises:
        CatalogError: the catalog has no more than `k` items.
    """
    rows = [row for row, _, _ in catalog.titles()]
    length = min(HISTORY_LENGTH, len(rows) - k)
    if length < 1:
        raise CatalogError(
            f"the catalog {catalog.path} has {len(rows)} items, and {k} are to be recommended after a history",
            hint=f"give a `catalog` of more than {k} items",
        )
    rng = _rng(seed)
    drawn = [catalog.items(rng.sample(rows, length)) for _ in range(n)]
    return [tuple(Interaction(id=item.id) for item in items) for items in drawn]


def read_split(path: Path, catalog: Catalog) -> HeldOutCases:
    """Read held-out interactions: JSON lines of {"history": [title or id, ...], "target": title or id}.

    Raises:
        UsageError: the file cannot be read or is empty; or a line is not such an object, or its target or its whole
            history is not in the catalog. The message lists the first of these lines.
    """
    resolver = TitleResolver(catalog)
    cases, problems, n_unresolved = [], [], 0
    for where, line in _lines(path):
        parsed = _parse_line(line)
        if isinstance(parsed, str):
            problems.append(f"{where} {parsed}")
            continue
        history, target = parsed
        item_ids = [_item_id(entry, catalog, resolver) for entry in history]
        known = [Interaction(id=item_id) for item_id in item_ids if item_id is not None]
        n_unresolved += len(item_ids) - len(known)
        target_id = _item_id(target, catalog, resolver)
        if target_id is None:
            problems.append(f"{where} has the target {reprlib.repr(target)}, which is not in the catalog")
        elif not known:
            problems.append(f"{where} has a history without any item of the catalog")
        else:
            cases.append(HeldOutCase(tuple(known), target_id))
    if problems or not cases:
        listed = several(problems, most=_MAX_SHOWN) or "it is empty"
        raise UsageError(
            f"{path} is not a test split for {catalog.path}: {listed}",
            hint='each line is {"history": ["..."], "target": "..."} with titles or ids of the catalog',
        )
    return HeldOutCases(tuple(cases), n_unresolved)


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as e:
        raise UsageError(f"{path} cannot be read: {e.strerror}", hint="check the file's name and permissions") from e
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"line {number}", line


def _parse_line(line: bytes) -> tuple[list[str], str] | str:
    """Return history and target of a line, or a message about what is wrong with it."""
    try:
        value = parse_json(line)
    except RepeatedKeyError as e:
        return f"is ambiguous: {e}"
    except (ValueError, RecursionError) as e:
        return f"is not JSON ({e})"
    if not isinstance(value, dict) or not {"history", "target"} <= value.keys():
        return 'is not an object with "history" and "target"'
    history, target = value["history"], value["target"]
    if not isinstance(history, list) or not all(isinstance(entry, str) for entry in [*history, target]):
        return "has a history or a target that is not text"
    return history, target


def _item_id(name: str, catalog: Catalog, resolver: TitleResolver) -> str | None:
    if name in catalog.by_ids([name]):
        return name
    item = resolver.resolve(name).item
    return None if item is None else item.id


def _rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - not for security
