"""Summaries block by block: which items each step covers, and that facts add up to those of the whole history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.profiles.summaries import FactSummarizer, HistorySummary, hierarchical, recurrent, update_parts
from genrec_edge.profiles.tastes import Tastes, profile_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.catalog.reader import Catalog


class Scripted:
    """Records its calls; its summaries are the rows that they cover."""

    kind = "scripted"

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], str | None]] = []
        self.merged: list[list[str]] = []

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        self.calls.append((list(rows), None if previous is None else previous.text))
        text = "".join(f"{row} " for row in rows)
        return HistorySummary((previous.text if previous else "") + text, self.kind, Tastes())

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        self.merged.append([part.text for part in parts])
        return (
            parts[0] if len(parts) == 1 else HistorySummary("|".join(part.text for part in parts), self.kind, Tastes())
        )


def test_recurrent_is_a_fold_over_blocks() -> None:
    scripted = Scripted()
    found = recurrent(range(12), scripted)
    assert scripted.calls == [
        ([0, 1, 2, 3, 4], None),
        ([5, 6, 7, 8, 9], "0 1 2 3 4 "),
        ([10, 11], "0 1 2 3 4 5 6 7 8 9 "),
    ]
    assert found is not None
    assert found.text == "0 1 2 3 4 5 6 7 8 9 10 11 "
    assert recurrent([12], scripted, previous=found) is not None
    assert scripted.calls[-1] == ([12], found.text)
    assert recurrent([], scripted) is None


def test_hierarchical_summarises_the_latest_blocks_alone_and_merges_once() -> None:
    scripted = Scripted()
    found = hierarchical(range(60), scripted, block=4, blocks=3)
    assert [rows for rows, _ in scripted.calls] == [[48, 49, 50, 51], [52, 53, 54, 55], [56, 57, 58, 59]]
    assert {previous for _, previous in scripted.calls} == {None}
    assert len(scripted.merged) == 1
    assert found is not None
    assert found.text == "48 49 50 51 |52 53 54 55 |56 57 58 59 "
    assert hierarchical([], scripted) is None


def test_going_on_needs_the_parts_and_the_new_blocks_alone() -> None:
    scripted = Scripted()
    blocks = [[0, 1], [2, 3], [4, 5], [6, 7]]
    parts, _ = update_parts((), blocks[:3], scripted, "hierarchical", 2)
    assert [part.text for part in parts] == ["2 3 ", "4 5 "]
    parts, _ = update_parts(parts, blocks[3:], scripted, "hierarchical", 2)
    assert [part.text for part in parts] == ["4 5 ", "6 7 "]
    assert [rows for rows, _ in scripted.calls] == blocks  # each once
    (one,), n_unwritten = update_parts(parts, [[8]], scripted, "recurrent", 2)
    assert (one.text, n_unwritten) == ("4 5 |6 7 8 ", 0)


def test_facts_of_blocks_are_those_of_the_history(films: Catalog) -> None:
    catalog_facts = CatalogFacts(films)
    rows = np.random.default_rng(0).integers(1, films.n_items, 24).tolist()
    for n in (1, 5, 13, 24):
        expected = profile_text(catalog_facts.of(rows[:n]), catalog_facts.share)
        for summarise in (recurrent, hierarchical):
            found = summarise(rows[:n], FactSummarizer(catalog_facts))
            assert found is not None
            assert (found.text, found.kind) == (expected, "facts")
    assert expected


def test_a_summary_is_not_changed_by_what_follows_it(films: Catalog) -> None:
    facts = FactSummarizer(CatalogFacts(films))
    first = facts.summarize([1, 2, 3], None)
    before = first.tastes.to_document()
    facts.summarize([4, 5, 6], first)
    facts.merge([first, facts.summarize([7], None)])
    assert first.tastes.to_document() == before
