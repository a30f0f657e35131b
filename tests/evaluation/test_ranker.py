"""Systems that score every item, against plain sorting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.errors import EngineError
from genrec_edge.evaluation.conditioning import Conditioning
from genrec_edge.evaluation.ranker import ScoreRanker
from tests.support.evaluation import indexes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.datasets.item_facts import ItemFacts
    from genrec_edge.datasets.split import Split

    BigramLlama = Callable[[Path, Mapping[str, Mapping[str, float]]], Path]


def test_what_fits_comes_first_and_words_are_nothing_to_those_that_count(split: Split, item_facts: ItemFacts) -> None:
    def by_number(history: NDArray[np.int32]) -> NDArray[np.float64]:
        return np.arange(24.0) + (100 if len(history) else 0)

    fits = np.zeros(24, np.bool_)
    fits[[3, 5]] = True
    conditioning = Conditioning(np.empty(0, np.int32), (), (), fits)
    history = np.array([23], np.int32)
    with ScoreRanker("a", lambda: by_number) as plain, ScoreRanker("a", lambda: by_number, fit_first=True) as first:
        assert (plain.name, first.name) == ("a", "a, fit first")
        assert plain.rank(history, 3, conditioning=conditioning).items.tolist() == [22, 21, 20]
        assert plain.rank(history, 3, conditioning=conditioning).scores[0] == 22  # nobody's history is not known
        assert first.rank(history, 4, conditioning=conditioning).items.tolist() == [5, 3, 22, 21]
        assert first.rank(history, 2).items.tolist() == [22, 21]


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.sets(st.integers(0, 7)),
    st.none() | st.sets(st.integers(0, 7)),
    st.integers(1, 9),
)
def test_scores_are_ranked_as_plain_sorting_does(
    scores: list[int], history: set[int], pool: set[int] | None, k: int
) -> None:
    all_items = range(len(scores))
    allowed = [i for i in all_items if i not in history and (pool is None or i in pool)]
    with ScoreRanker("s", lambda: lambda _: np.array(scores, np.float64)) as ranker:
        ranked = ranker.rank(
            indexes(sorted(history & set(all_items))),
            k,
            candidates=None if pool is None else indexes(sorted(pool & set(all_items))),
        )
    assert ranked.items.tolist() == sorted(allowed, key=lambda i: (-scores[i], i))[:k]
    for target in all_items:
        places = [p for p, s in enumerate(sorted((scores[i] for i in allowed), reverse=True), 1) if s == scores[target]]
        assert ranked.rank_of(target) == (sum(places) / len(places) if target in allowed else math.inf)


def test_scores_are_made_when_they_are_needed_and_dropped_afterwards() -> None:
    made: list[int] = []

    def fit() -> Callable[[NDArray[np.int32]], NDArray[np.float64]]:
        made.append(1)
        return lambda _: np.zeros(3)

    ranker = ScoreRanker("s", fit)
    assert made == []
    with ranker:
        assert [len(ranked.items) for ranked in ranker.rank_many([indexes([1]), indexes([])], 5)] == [2, 3]
    assert made == [1]
    with pytest.raises(AttributeError):
        ranker.rank(indexes([]), 1)


def test_a_score_that_is_no_number_is_an_error() -> None:
    with ScoreRanker("s", lambda: lambda _: np.array([1.0, np.nan])) as ranker, pytest.raises(EngineError):
        ranker.rank(indexes([]), 1).rank_of(1)
