"""Reasons: what scores lose without a title of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.coordinates import CatalogRow, CatalogRows
from genrec_edge.serving.explain import LEAST_NATS, reasons
from tests.support.recommenders import HISTORY, nats_of, user_prompt

if TYPE_CHECKING:
    from genrec_edge import Recommender


def test_reasons_are_what_scores_lose_without_a_title(twelve_films: Recommender, logits_after: Any) -> None:
    result = twelve_films.recommend(HISTORY, k=3, intent="drama", explain=True)
    plain = twelve_films.recommend(HISTORY, k=3, intent="drama")
    assert [r.item.row for r in result.items] == [r.item.row for r in plain.items]
    for r in result.items:
        whole = nats_of(twelve_films, logits_after, user_prompt(twelve_films, wanted="Drama"), r.item.title)
        gains = {}
        for title in HISTORY:
            rest = [other for other in HISTORY if other != title]
            gains[title] = whole - nats_of(
                twelve_films, logits_after, user_prompt(twelve_films, rest, wanted="Drama"), r.item.title
            )
        expected = sorted((t for t in gains if gains[t] >= LEAST_NATS), key=lambda t: -gains[t])
        assert [reason.item.title for reason in r.reasons] == expected
        assert [reason.nats for reason in r.reasons] == pytest.approx([gains[t] for t in expected], abs=2e-3)
    assert any(r.reasons for r in result.items)
    assert all(not r.reasons for r in plain.items)


def test_free_text_that_names_nothing_needs_no_reasons(twelve_films: Recommender) -> None:
    result = twelve_films.recommend(HISTORY, k=2, decode="free", explain=True)
    assert result.items == ()


def test_reasons_are_the_titles_that_add_most_of_the_latest_thirty() -> None:
    """Scores that are sums over the history: a title adds its own part, whatever the others are."""
    added = {row: 0.005 * row for row in range(1, 41)} | {3: 9.0, 20: 0.5, 35: LEAST_NATS / 2, 40: 2.0}
    liked = CatalogRows(np.array(list(added), np.int64))
    asked: list[int] = []

    def scores_of(history: CatalogRows) -> dict[CatalogRow, float]:
        asked.append(len(history))
        score = sum(added[row] for row in history.tolist())
        return {CatalogRow(100): score, CatalogRow(101): -score, CatalogRow(102): 1.0}

    found = reasons(liked, scores_of)
    assert [row for row, _ in found[CatalogRow(100)]] == [40, 20, 39]  # 3 is not one of the latest thirty
    assert [nats for _, nats in found[CatalogRow(100)]] == pytest.approx([2.0, 0.5, 0.195])
    assert (found[CatalogRow(101)], found[CatalogRow(102)]) == ([], [])
    assert asked == [40] + [39] * 30


def test_of_an_empty_history_there_are_no_reasons() -> None:
    assert reasons(CatalogRows(np.empty(0, np.int64)), lambda _: {CatalogRow(1): -1.0}) == {1: []}
