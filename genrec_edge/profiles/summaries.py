"""Long histories, summarised block by block: the two ways of LLM-TRSR, and two that write, the catalog and a model.

    recurrent       the first block; then, again and again, the summary so far and the next block give a new summary
    hierarchical    each block alone; then one summary out of those of the latest blocks

Source: LLM-TRSR, arXiv 2403.13325, sections 3.2 and 3.3; blocks of 5 items, 5 of them, in its published code. Its model
samples; here nothing is drawn, so that a history has one summary.

A summary carries the weights of its facts besides its words, whoever wrote them. They stand in where a model cannot
write.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from genrec_edge.profiles.tastes import Tastes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.records import Fact

DEFAULT_BLOCK = 5
"""Items of a block."""
DEFAULT_BLOCKS = 5
"""Latest blocks of a hierarchical summary."""
FACTS = "facts"
"""The kind of a summary that was counted, not written by a model."""

Method = Literal["recurrent", "hierarchical"]


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """What a part of a history says of its user.

    Attributes:
        text: one line; empty where nothing is known of the items.
        kind: `FACTS`, or the model that wrote it.
        tastes: the weights of the facts of its items; not to be changed.
    """

    text: str
    kind: str
    tastes: Tastes


class Summarizer(Protocol):
    """What writes summaries. `kind` names it; a summary of another kind is one it could not write."""

    kind: str

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        """Return the summary of items, catalog rows, oldest first, that follow what `previous` summarises."""
        ...

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        """Return one summary out of those of parts that follow one another, at least one; of one, itself."""
        ...


class FactSource(Protocol):
    """What tells the facts of items, and how usual each is: see `facts.CatalogFacts`."""

    def of(self, rows: Sequence[int]) -> Sequence[Sequence[Fact]]:
        """Return the facts of each of these rows."""
        ...

    def share(self, fact: Fact) -> float:
        """Return the share of items that have a fact."""
        ...


class FactSummarizer:
    """Summaries out of the facts of a catalog, by weight: no model, the same every time."""

    kind = FACTS

    def __init__(self, book: FactSource) -> None:
        self._book = book

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        """Return the summary; `Summarizer` says of what."""
        tastes = Tastes()
        if previous is not None:
            known = previous.tastes
            tastes = replace(known, weights=dict(known.weights), counts=dict(known.counts))
        tastes.add(self._book.of(rows))
        return self._summary(tastes)

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        """Return the summary; `Summarizer` says of what."""
        if len(parts) == 1:
            return parts[0]
        tastes = parts[0].tastes
        for part in parts[1:]:
            tastes = tastes.then(part.tastes)
        return self._summary(tastes)

    def _summary(self, tastes: Tastes) -> HistorySummary:
        return HistorySummary(tastes.text(self._book.share), FACTS, tastes)


def recurrent(
    rows: Sequence[int], summarizer: Summarizer, *, block: int = DEFAULT_BLOCK, previous: HistorySummary | None = None
) -> HistorySummary | None:
    """Return the summary of a history, catalog rows, oldest first, after `previous`: one step for each block.

    The last block may be shorter. None where there are neither items nor a previous summary.
    """
    for start in range(0, len(rows), block):
        previous = summarizer.summarize(rows[start : start + block], previous)
    return previous


def hierarchical(
    rows: Sequence[int], summarizer: Summarizer, *, block: int = DEFAULT_BLOCK, blocks: int = DEFAULT_BLOCKS
) -> HistorySummary | None:
    """Return the summary of the latest `block * blocks` items of a history, catalog rows, oldest first.

    One step for each block, and one that merges them; the last block may be shorter. None where there are no items.
    """
    latest = rows[-block * blocks :]
    parts = [summarizer.summarize(latest[start : start + block], None) for start in range(0, len(latest), block)]
    return summarizer.merge(parts) if parts else None


def advanced(
    parts: Sequence[HistorySummary],
    blocks: Sequence[Sequence[int]],
    summarizer: Summarizer,
    method: Method,
    most: int,
) -> tuple[tuple[HistorySummary, ...], int]:
    """Return what the summary of a history is made of once blocks of catalog rows were added to it.

    The number of steps depends on the new blocks alone: a history that was summarised is never read again.

    Args:
        parts: what it was made of, oldest first: one summary if recurrent, those of the latest blocks if hierarchical.
            Made by the other method, they go on as they are.
        blocks: of new items, oldest first.
        summarizer: asked once for each block; and once more by "recurrent" if there are several parts.
        method: "recurrent" or "hierarchical".
        most: parts kept by "hierarchical".

    Returns:
        The new parts, and how many of the blocks the summarizer could not write a summary of.
    """
    steps: list[HistorySummary] = []
    if method == "hierarchical":
        steps = [summarizer.summarize(rows, None) for rows in blocks]
        kept = [*parts, *steps][-most:]
    else:
        latest = summarizer.merge(parts) if parts else None
        for rows in blocks:
            latest = summarizer.summarize(rows, latest)
            steps.append(latest)
        kept = [] if latest is None else [latest]
    return tuple(kept), sum(step.kind != summarizer.kind for step in steps)
