"""Recommenders that count, against plain loops and a general solver, and the published table of MovieLens 100K."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import k_core, leave_one_out
from genrec_edge.evaluation.baselines import BASELINES, ItemKNN, Popularity, Random, SequentialItemItem
from genrec_edge.evaluation.metrics import hit, ndcg, rank_of
from genrec_edge.records import Ties

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.datasets.split import Split
    from genrec_edge.evaluation.baselines import Baseline

N_ITEMS = 7
HISTORIES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=9), min_size=1, max_size=6)
HISTORY = st.lists(st.integers(0, N_ITEMS - 1), max_size=6)
PUBLISHED = {  # HR@10, NDCG@10 of the test items; fit on the training items alone
    ("file", "popularity"): (0.0870, 0.0445),
    ("file", "ease"): (0.1463, 0.0737),
    ("file", "item-knn"): (0.1835, 0.1024),
    ("file", "sequential"): (0.2057, 0.1115),
    ("item", "popularity"): (0.0498, 0.0251),
    ("item", "ease"): (0.0997, 0.0438),
    ("item", "item-knn"): (0.1347, 0.0703),
    ("item", "sequential"): (0.1686, 0.0887),
}


def indexes(items: list[int]) -> NDArray[np.int32]:
    return np.array(items, np.int32)


def scores_of(baseline: Baseline, train: list[list[int]], history: list[int]) -> NDArray[np.float64]:
    baseline.fit([indexes(items) for items in train], N_ITEMS)
    scores = baseline.scores(indexes(history))
    assert scores.shape == (N_ITEMS,)
    assert scores.dtype == np.float64
    return scores


def followers(train: list[list[int]], i: int, j: int, window: int) -> float:
    """Return T[i, j] as it is defined."""
    return sum(
        1 / (b - a)
        for items in train
        for a in range(len(items))
        for b in range(a + 1, len(items))
        if items[a] == i and items[b] == j and b - a <= window
    )


@pytest.mark.slow
@given(HISTORIES, HISTORY, st.integers(1, 4), st.integers(1, 4))
def test_sequential_is_its_definition(train: list[list[int]], history: list[int], window: int, last: int) -> None:
    counts = [sum(items.count(i) for items in train) for i in range(N_ITEMS)]
    expected = [
        sum(
            0.7**p * followers(train, item, j, window) / counts[item] ** 0.5
            for p, item in enumerate(history[::-1][:last])
            if counts[item]
        )
        for j in range(N_ITEMS)
    ]
    found = scores_of(SequentialItemItem(window=window, decay=0.7, last=last, alpha=0.5), train, history)
    assert found == pytest.approx(expected)


def similarities(train: list[list[int]], shrink: float) -> list[list[float]]:
    """Return the similarity of each pair of items as it is defined; none to itself."""
    users = [{u for u, items in enumerate(train) if i in items} for i in range(N_ITEMS)]
    return [[len(a & b) / (math.sqrt(len(a) * len(b)) + shrink) if a is not b else 0.0 for b in users] for a in users]


@pytest.mark.slow
@given(HISTORIES, HISTORY, st.integers(1, N_ITEMS), st.integers(1, 4), st.sampled_from([0.5, 10.0]))
def test_neighbours_are_those_of_the_scored_item(
    train: list[list[int]], history: list[int], k: int, last: int, shrink: float
) -> None:
    similar = similarities(train, shrink)
    near = [sorted(range(N_ITEMS), key=lambda i: (-similar[j][i], i))[:k] for j in range(N_ITEMS)]
    expected = [sum(similar[j][h] for h in history[::-1][:last] if h in near[j]) for j in range(N_ITEMS)]
    assert scores_of(ItemKNN(k=k, shrink=shrink, last=last), train, history) == pytest.approx(expected)


@pytest.mark.slow
@given(HISTORIES, HISTORY)
def test_popularity_counts_events(train: list[list[int]], history: list[int]) -> None:
    expected = [sum(items.count(i) for items in train) for i in range(N_ITEMS)]
    assert scores_of(Popularity(), train, history).tolist() == expected


def test_random_repeats_itself_for_the_same_history_alone() -> None:
    baseline = Random(seed=1)
    baseline.fit([], 1000)
    first = baseline.scores(indexes([3, 1]))
    np.testing.assert_array_equal(first, baseline.scores(indexes([3, 1])))
    for other in ([1, 3], [3], []):
        assert abs(np.corrcoef(first, baseline.scores(indexes(other)))[0, 1]) < 0.2
    other_seed = Random(seed=2)
    other_seed.fit([], 1000)
    assert abs(np.corrcoef(first, other_seed.scores(indexes([3, 1])))[0, 1]) < 0.2


@pytest.mark.parametrize("name", BASELINES)
def test_scores_are_the_callers_to_change_and_a_new_fit_forgets(name: str) -> None:
    train, history = [[0, 1, 2, 3], [1, 2, 0]], indexes([0, 1])
    baseline = BASELINES[name]()
    before = scores_of(baseline, train, [0, 1])
    assert len(set(before.tolist())) > 1
    baseline.scores(history)[:] = 9
    np.testing.assert_array_equal(baseline.scores(history), before)
    scores_of(baseline, [[5, 6], [6, 5]], [5])
    np.testing.assert_array_equal(scores_of(baseline, train, [0, 1]), before)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("train", [[], [[]], [[], [2]]])
def test_nothing_to_learn_from_gives_finite_scores(name: str, train: list[list[int]]) -> None:
    for history in ([], [4], [2, 2]):
        assert np.isfinite(scores_of(BASELINES[name](), train, history)).all()


@pytest.mark.parametrize("name", BASELINES)
def test_a_large_catalog_costs_what_its_items_with_events_do(name: str) -> None:
    """A matrix of 100,000 x 100,000 items would be 80 GB."""
    baseline = BASELINES[name]()
    baseline.fit([indexes([7, 99_999, 5]), indexes([99_999, 7])], 100_000)
    scores = baseline.scores(indexes([7]))
    assert scores.shape == (100_000,)
    if name in {"item-knn", "sequential"}:
        assert scores.argmax() == 99_999


@pytest.fixture(scope="module")
def splits(ml_100k: Path) -> dict[Ties, Split]:
    return {ties: leave_one_out(k_core(load(ml_100k), 5), ties) for ties in get_args(Ties)}


@pytest.mark.parametrize(("ties", "name"), PUBLISHED)
def test_the_published_table(splits: dict[Ties, Split], ties: Ties, name: str) -> None:
    """943 users, 5-core, all 1,682 items ranked, seen ones removed."""
    split = splits[ties]
    baseline = BASELINES[name]()
    baseline.fit(split.train, split.n_items)
    ranks = []
    for user in split.users:
        history = np.append(split.train[user], split.validation[user])
        allowed = np.ones(split.n_items, np.bool_)
        allowed[history] = False
        ranks.append(rank_of(baseline.scores(history), int(split.test[user]), allowed))
    assert len(ranks) == 943
    found = hit(np.array(ranks), 10).mean(), ndcg(np.array(ranks), 10).mean()
    assert found == pytest.approx(PUBLISHED[ties, name], abs=0.00005)
