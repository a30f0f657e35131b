"""Metrics against trec_eval; segments and catalog metrics against plain loops."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.errors import EngineError
from genrec_edge.evaluation.metrics import (
    coverage,
    distinct_rate,
    history_segments,
    hit,
    items_shown,
    mean_overlap,
    mean_popularity_rank,
    ndcg,
    rank_of,
    reciprocal_rank,
    valid_rate,
)
from genrec_edge.evaluation.ranker import Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray


N_CASES, N_ITEMS, DEPTH = 200, 40, 25


CUTS = (1, 5, 10, 20)


def trec_eval(lists: NDArray[np.int64], relevant: list[NDArray[np.int64]], k: int) -> dict[str, NDArray[np.float64]]:
    """Return each user's figures as NIST's trec_eval computes them."""
    judged = {str(u): {str(i): 1 for i in items} for u, items in enumerate(relevant)}
    run = {str(u): {str(i): float(-place) for place, i in enumerate(row[:k])} for u, row in enumerate(lists.tolist())}
    names = {f"success_{k}", f"recall_{k}", f"ndcg_cut_{k}", "recip_rank"}
    measures = {f"success.{k}", f"recall.{k}", f"ndcg_cut.{k}", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    return {name: np.array([found[str(u)][name] for u in range(len(lists))]) for name in names}


def random_lists(rng: np.random.Generator) -> NDArray[np.int64]:
    return np.array([rng.permutation(N_ITEMS)[:DEPTH] for _ in range(N_CASES)])


@pytest.mark.parametrize("k", CUTS)
def test_one_target_per_user_as_trec_eval_has_it(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = np.array([rng.permutation(N_ITEMS) / N_ITEMS for _ in range(N_CASES)])  # no ties
    targets = rng.integers(N_ITEMS, size=N_CASES)
    ranks = np.array([rank_of(s, t) for s, t in zip(scores, targets.tolist(), strict=True)])
    truth = trec_eval(np.argsort(-scores, axis=1), [np.array([t]) for t in targets], k)
    assert 0 < hit(ranks, k).mean() < 1
    np.testing.assert_allclose(hit(ranks, k), truth[f"success_{k}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(hit(ranks, k), truth[f"recall_{k}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ndcg(ranks, k), truth[f"ndcg_cut_{k}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(reciprocal_rank(ranks, k), truth["recip_rank"], rtol=0, atol=1e-9)


def ranks_in(lists: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rank of each user's target in the user's list."""
    return np.array([ranking_of(items).rank_of(target) for items, target in zip(lists, targets.tolist(), strict=True)])


def ranking_of(items: NDArray[np.int64]) -> Ranking:
    scores = -np.arange(len(items), dtype=np.float64)
    return Ranking(items.astype(np.int32), scores, exact=True, gap=0.0, tokens=0, seconds=0.0)


@pytest.mark.parametrize("k", CUTS)
def test_a_target_that_is_in_some_lists_alone_as_trec_eval_has_it(k: int) -> None:
    rng = np.random.default_rng(100 + k)
    lists = random_lists(rng)
    targets = rng.integers(N_ITEMS, size=N_CASES)
    ranks = ranks_in(lists, targets)
    assert 0 < np.isinf(ranks).mean() < 1
    truth = trec_eval(lists, [np.array([target]) for target in targets], k)
    np.testing.assert_allclose(hit(ranks, k), truth[f"success_{k}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(hit(ranks, k), truth[f"recall_{k}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ndcg(ranks, k), truth[f"ndcg_cut_{k}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(reciprocal_rank(ranks, k), truth["recip_rank"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("k", [1, 10, DEPTH, DEPTH + 5])
def test_figures_of_one_target_are_those_of_many_targets_that_are_one(k: int) -> None:
    """Recall, NDCG against the ideal list, and the reciprocal rank of the first hit, by their general definitions."""
    rng = np.random.default_rng(7)
    lists = random_lists(rng)
    targets = rng.integers(N_ITEMS, size=N_CASES)
    ranks = ranks_in(lists, targets)
    found = (lists == targets[:, None])[:, :k]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = discounts[0]
    places = np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)
    np.testing.assert_array_equal(hit(ranks, k), found.sum(axis=1) / 1)
    np.testing.assert_allclose(ndcg(ranks, k), found @ discounts[: found.shape[1]] / ideal, rtol=1e-12)
    np.testing.assert_array_equal(reciprocal_rank(ranks, k), 1 / places)


def test_figures_computed_by_hand() -> None:
    ranks = np.array([1, 2, 3, 10, 10.5, 11, np.inf])
    assert hit(ranks, 10).tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert hit(ranks, 2).tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert ndcg(ranks, 10) == pytest.approx([1, 1 / math.log2(3), 0.5, 1 / math.log2(11), 1 / math.log2(11.5), 0, 0])
    assert reciprocal_rank(ranks, 10) == pytest.approx([1, 1 / 2, 1 / 3, 0.1, 1 / 10.5, 0, 0])


@given(
    st.lists(st.tuples(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0]), st.booleans()), min_size=1, max_size=12),
    st.data(),
)
def test_a_rank_is_the_mean_over_all_orders_of_equal_scores(
    cells: list[tuple[float, bool]], data: st.DataObject
) -> None:
    scores, allowed = (np.array(column) for column in zip(*cells, strict=True))
    target = data.draw(st.integers(0, len(cells) - 1))
    allowed[target] = True
    items = [i for i in range(len(cells)) if allowed[i]]
    first = min(i for i, s in enumerate(sorted((scores[i] for i in items), reverse=True), 1) if s == scores[target])
    equal = sum(scores[i] == scores[target] for i in items)
    assert rank_of(scores, target, allowed) == sum(range(first, first + equal)) / equal


def test_what_cannot_be_ranked() -> None:
    with pytest.raises(EngineError, match="1 of 3 scores are not numbers"):
        rank_of(np.array([0.0, np.nan, 1.0]), 1)
    assert rank_of(np.array([3.0, 1.0]), 0, np.array([False, True])) == math.inf
    assert ranks_in(np.array([[3, 4], [5, 6]]), np.array([-1, 3])).tolist() == [math.inf, math.inf]
    assert ranks_in(np.empty((1, 0), np.int64), np.array([3])).tolist() == [math.inf]


def test_what_is_shown_of_the_catalog() -> None:
    lists = np.array([[0, 1, 1], [2, -1, -1], [0, 1, 3]])
    assert valid_rate(lists, 3) == pytest.approx(7 / 9)
    assert valid_rate(lists, 5) == pytest.approx(7 / 15)  # five were asked for
    assert distinct_rate(lists, 3) == pytest.approx(6 / 7)
    assert distinct_rate(lists, 2) == 1
    assert coverage(lists, 3, 8) == 4 / 8
    assert coverage(lists, 1, 8) == 2 / 8
    counts = np.array([5, 9, 5, 0])  # popularity ranks 2.5, 1, 2.5, 4
    assert mean_popularity_rank(lists, 3, counts) == pytest.approx((2.5 + 1 + 1 + 2.5 + 2.5 + 1 + 4) / 7)
    assert mean_popularity_rank(lists, 1, counts) == 2.5
    assert math.isnan(mean_popularity_rank(np.full((2, 3), -1), 3, counts))


def test_lists_that_all_users_share_overlap() -> None:
    lists = np.array([[0, 1, 2], [2, 0, 3], [4, 5, -1], [0, 6, 7]])
    # of the six pairs: two films, none, one; none, one; none
    assert mean_overlap(lists, 3) == pytest.approx(4 / 6 / 3)
    # the first places alone: 0, 2, 4, 0
    assert mean_overlap(lists, 1) == pytest.approx(1 / 6)
    assert mean_overlap(np.array([[3, 1], [1, 3], [3, 1]]), 2) == 1
    assert math.isnan(mean_overlap(lists[:1], 3))
    assert (items_shown(lists, 3), items_shown(lists, 1), items_shown(np.full((2, 2), -1), 2)) == (8, 3, 0)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.integers(1, 4))
def test_history_segments_are_a_partition_in_order_of_length(lengths: list[int], parts: int) -> None:
    values = np.array(lengths)
    segments = history_segments(values, parts)
    assert np.sum(list(segments.values()), axis=0).tolist() == [1] * len(values)
    ranges = [(values[mask].min(), values[mask].max()) for mask in segments.values()]
    assert list(segments) == [f"history {low}-{high}" for low, high in ranges]
    assert all(above[0] > below[1] for below, above in itertools.pairwise(ranges))
    if len(set(lengths)) == len(lengths):
        sizes = [int(mask.sum()) for mask in segments.values()]
        assert max(sizes) - min(sizes) <= 1
