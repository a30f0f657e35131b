"""Long histories, summarised block by block, by the two methods of LLM-TRSR.

    recurrent       the first block; then, repeatedly, the summary so far and the next block give a new summary
    hierarchical    each block alone; then one summary of the summaries of the latest blocks

Source: LLM-TRSR, arXiv 2403.13325, sections 3.2 and 3.3; blocks of 5 items, 5 of them, in its published code. Its model
samples; here nothing is random, so that a history has one summary.

The catalog's facts or a model write the text of a summary. It always has the weights of the facts, too: they are used
where a model cannot write.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from genrec_edge.profiles.tastes import Tastes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.records import Fact, SummaryMethod

DEFAULT_BLOCK = 5
"""Items of a block."""
DEFAULT_BLOCKS = 5
"""Latest blocks of a hierarchical summary."""
FACTS = "facts"
"""The kind of a summary that is made of facts, not written by a model."""


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """The summary of a part of a history.

    Attributes:
        text: one line; empty without facts of the items.
        kind: `FACTS`, or the model that wrote it.
        tastes: the weights of the facts of its items; do not change them.
    """

    text: str
    kind: str
    tastes: Tastes


class Summarizer(Protocol):
    """Writes summaries of its `kind`. One of another kind says that it could not write, and facts were used."""

    kind: str

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        """Return the summary of what `previous` covers and of items, catalog rows, oldest first, that follow."""
        ...

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        """Return one summary of consecutive parts, at least one; a single part is returned as it is."""
        ...


class FactSource(Protocol):
    """Gives the facts of items, and how frequent each fact is; see `facts.CatalogFacts`."""

    def of(self, rows: Sequence[int]) -> Sequence[Sequence[Fact]]:
        """Return the facts of each of these rows."""
        ...

    def share(self, fact: Fact) -> float:
        """Return the share of items that have a fact, 0..1."""
        ...


class FactSummarizer:
    """Summaries made of the facts of a catalog by their weights, without a model; always the same."""

    kind = FACTS

    def __init__(self, facts: FactSource) -> None:
        self._facts = facts

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        """See `Summarizer`."""
        tastes = Tastes()
        if previous is not None:
            tastes = previous.tastes
            tastes = replace(tastes, weights=dict(tastes.weights), counts=dict(tastes.counts))
        tastes.add(self._facts.of(rows))
        return self._summary(tastes)

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        """See `Summarizer`."""
        if len(parts) == 1:
            return parts[0]
        tastes = parts[0].tastes
        for part in parts[1:]:
            tastes = tastes.followed_by(part.tastes)
        return self._summary(tastes)

    def _summary(self, tastes: Tastes) -> HistorySummary:
        return HistorySummary(tastes.text(self._facts.share), FACTS, tastes)


def recurrent(
    rows: Sequence[int], summarizer: Summarizer, *, block: int = DEFAULT_BLOCK, previous: HistorySummary | None = None
) -> HistorySummary | None:
    """Return the summary of a history, catalog rows, oldest first, after `previous`: one step for each block.

    The last block may be shorter. None without items and without a previous summary.
    """
    for start in range(0, len(rows), block):
        previous = summarizer.summarize(rows[start : start + block], previous)
    return previous


def hierarchical(
    rows: Sequence[int], summarizer: Summarizer, *, block: int = DEFAULT_BLOCK, blocks: int = DEFAULT_BLOCKS
) -> HistorySummary | None:
    """Return the summary of the latest `block * blocks` items of a history, catalog rows, oldest first.

    One step for each block, and one that merges them; the last block may be shorter. None without items.
    """
    latest = rows[-block * blocks :]
    parts = [summarizer.summarize(latest[start : start + block], None) for start in range(0, len(latest), block)]
    return summarizer.merge(parts) if parts else None


def update_parts(
    parts: Sequence[HistorySummary],
    blocks: Sequence[Sequence[int]],
    summarizer: Summarizer,
    method: SummaryMethod,
    max_parts: int,
) -> tuple[tuple[HistorySummary, ...], int]:
    """Return the parts of a history's summary after new blocks of items.

    The number of steps depends on the new blocks alone: items that are summarised are never read again.

    Args:
        parts: before, oldest first: one summary if recurrent, those of the latest blocks if hierarchical. Parts made by
            the other method are used as they are.
        blocks: of new items, catalog rows, oldest first.
        summarizer: called once for each block; and once more by "recurrent" if there are several parts.
        method: "recurrent" or "hierarchical".
        max_parts: the largest number of parts of "hierarchical".

    Returns:
        The new parts, and for how many blocks the summarizer could not write a summary.
    """
    steps: list[HistorySummary] = []
    if method == "hierarchical":
        steps = [summarizer.summarize(rows, None) for rows in blocks]
        kept = [*parts, *steps][-max_parts:]
    else:
        latest = summarizer.merge(parts) if parts else None
        for rows in blocks:
            latest = summarizer.summarize(rows, latest)
            steps.append(latest)
        kept = [] if latest is None else [latest]
    return tuple(kept), sum(step.kind != summarizer.kind for step in steps)
