"""Sampled negatives: outside of what a user has met, uniformly, by popularity or by the scores of a baseline."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from genrec_edge.datasets.negatives import NegativeSampler, WeekPopularity, candidate_negatives
from genrec_edge.errors import UsageError
from tests.support.event_tables import dataset_of

N_ITEMS = 6
HISTORIES = [np.array([0, 1, 1]), np.array([2]), np.array([1, 3])]


def test_negatives_are_different_items_outside_of_the_history() -> None:
    negatives = NegativeSampler(HISTORIES, N_ITEMS)
    rng = np.random.default_rng(1)
    pairs = [negatives.sample(0, rng, 2) for _ in range(400)]
    assert all(one != other for one, other in pairs)
    drawn = Counter(item for pair in pairs for item in pair)
    assert set(drawn) == {2, 3, 4, 5}
    assert all(150 < n < 250 for n in drawn.values())
    popular = Counter(negatives.sample(1, rng, 1, popular=True)[0] for _ in range(500))
    assert set(popular) == {0, 1, 3}
    assert popular[1] / 500 == pytest.approx(3 / 5, abs=0.1)


def test_popular_negatives_are_any_where_too_few_have_events() -> None:
    drawn = NegativeSampler(HISTORIES, N_ITEMS).sample(0, np.random.default_rng(1), 4, popular=True)
    assert sorted(drawn) == [2, 3, 4, 5]


def test_more_negatives_than_there_are_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(UsageError, match="a user has met 2 of the 6 items, and 5 others are needed"):
        NegativeSampler(HISTORIES, N_ITEMS).sample(0, np.random.default_rng(1), 5)


def test_what_a_week_liked_is_drawn_as_often_as_it_was_met() -> None:
    """In the week of day 100: 1 three times, 2 once, 3 twice at its ends; 4 is just outside, 5 is the user's own."""
    day = 86400.0
    week = [(1, 1, 100.0), (2, 1, 101.0), (3, 1, 99.0), (1, 2, 100.0), (2, 3, 96.5), (3, 3, 103.5)]
    outside = [(1, 4, 96.4), (2, 4, 103.6), (3, 5, 100.0), (0, 5, 0.0), (0, 0, 100.0)]
    dataset = dataset_of([(user, item, time * day) for user, item, time in (*week, *outside)])
    popular, rng = WeekPopularity(dataset), np.random.default_rng(1)
    drawn = Counter(int(popular.sample(0, 100 * day, 1, rng)[0]) for _ in range(1200))
    assert set(drawn) == {1, 2, 3}
    for item, share in ((1, 3 / 6), (2, 1 / 6), (3, 2 / 6)):
        assert drawn[item] / 1200 == pytest.approx(share, abs=0.05)
    assert sorted(popular.sample(0, 100 * day, 3, rng).tolist()) == [1, 2, 3]
    assert popular.n_widened == 0
    assert sorted(popular.sample(0, 100 * day, 4, rng).tolist()) == [1, 2, 3, 4]  # two weeks
    assert popular.n_widened == 1
    with pytest.raises(UsageError, match="`candidates` must be from 1 to 4, the items that only other users have met"):
        popular.sample(0, 100 * day, 5, rng)
    with pytest.raises(UsageError, match=r"`candidates` must be from 1 to 3, .*, got 0"):
        popular.sample(0, 100 * day, 0, rng)


def test_old_targets_stand_among_old_items() -> None:
    events = [(1, 1, 0.0), (1, 2, 0.0), (1, 3, 0.0), (0, 0, 0.0)]
    dataset = dataset_of(events, years=[1960, 1969, 1970, None, 1950, 1950])  # the events are of 1970
    drawn = {int(WeekPopularity(dataset, 1).sample(0, 0.0, 1, np.random.default_rng(n))[0]) for n in range(20)}
    assert drawn == {1}
    assert {int(WeekPopularity(dataset).sample(0, 0.0, 1, np.random.default_rng(n))[0]) for n in range(20)} == {1, 2, 3}


def test_candidates_are_drawn_uniformly_outside_of_the_events() -> None:
    rng = np.random.default_rng(2)
    pools = [candidate_negatives([0, 4, -1], N_ITEMS, 2, rng).tolist() for _ in range(400)]
    assert all(one != other for one, other in pools)
    drawn = Counter(item for pool in pools for item in pool)
    assert set(drawn) == {1, 2, 3, 5}
    assert all(150 < n < 250 for n in drawn.values())


def test_hard_candidates_are_those_with_the_highest_scores() -> None:
    scores = np.array([9.0, 1.0, 3.0, 8.0, 2.0, 3.0])
    rng = np.random.default_rng(0)
    assert candidate_negatives([0, 3, -1], N_ITEMS, 3, rng, scores).tolist() == [
        2,
        5,
        4,
    ]  # the first of equal ones first
    assert candidate_negatives([], N_ITEMS, 2, rng, scores).tolist() == [0, 3]


@pytest.mark.parametrize("n", [0, 5])
def test_a_number_of_candidates_out_of_range_is_refused(n: int) -> None:
    rng = np.random.default_rng(0)
    assert sorted(candidate_negatives([0, 4], N_ITEMS, 4, rng).tolist()) == [1, 2, 3, 5]
    with pytest.raises(UsageError, match=f"`candidates` must be from 1 to 4, .*, got {n}"):
        candidate_negatives([0, 4], N_ITEMS, n, rng)
