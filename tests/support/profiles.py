"""Summarizers and events for tests of profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.profiles.records import ProfileEvent
from genrec_edge.profiles.summaries import FactSummarizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.profiles.summaries import HistorySummary


class RecordingSummarizer:
    """The summarizer of facts; it records the rows of each step, and calls `at_step` before it answers."""

    kind = "facts"

    def __init__(self, catalog: Catalog, at_step: Callable[[], object] = lambda: None) -> None:
        self._facts = FactSummarizer(CatalogFacts(catalog))
        self._at_step = at_step
        self.steps: list[list[int]] = []

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        self.steps.append(list(rows))
        self._at_step()
        return self._facts.summarize(rows, previous)

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        return self._facts.merge(parts)


class UnableSummarizer(RecordingSummarizer):
    """Has another kind, so that every summary it returns counts as one that it could not write."""

    kind = "unable"


def random_events(catalog: Catalog, n: int, *, seed: int = 0, start: int = 0) -> list[ProfileEvent]:
    """Return n events a second apart, of random items, the first of them at `start` seconds."""
    rows = np.random.default_rng(seed).integers(1, catalog.n_items + 1, start + n)[start:].tolist()
    return [ProfileEvent(item.id, item.title, 1000.0 + start + i) for i, item in enumerate(catalog.items(rows))]
