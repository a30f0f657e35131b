"""The k best of the titles that are added, in any order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.decoding.best_titles import TopK

scores_st = st.lists(st.sampled_from([-3.0, -2.5, -1.0, 0.0]), min_size=1, max_size=30)


@pytest.mark.slow
@given(scores_st, st.integers(1, 12), st.randoms())
def test_it_keeps_the_k_best_and_of_equal_ones_the_first_of_the_trie(scores: list[float], k: int, rng: object) -> None:
    best, order = TopK(k), list(range(len(scores)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    for position in order:
        best.add(position, scores[position] - 0.5, 0.5)
    expected = sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:k]
    found = best.best_first()
    assert [title.position for title in found] == expected
    assert all(title.score == scores[title.position] == title.logprob + title.bias for title in found)
    assert len(best) == len(found)


@given(scores_st, st.integers(1, 12))
def test_the_threshold_is_the_score_of_the_worst_once_there_are_k(scores: list[float], k: int) -> None:
    best = TopK(k)
    for position, score in enumerate(scores):
        assert best.threshold == (sorted(scores[:position], reverse=True)[k - 1] if position >= k else -math.inf)
        best.add(position, score, 0.0)
