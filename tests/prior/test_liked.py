"""Cosines of liked sets, against loops over every set and numbers worked out by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from genrec_edge.prior.liked import LikedGroup, LikedSets
from tests.support.mixtures import liked_by_loops, liked_sets_of, random_sets


def test_numbers_worked_out_by_hand() -> None:
    """Items 0 and 1 are in two sets each, together in one; item 2 is in one set, with both; item 3 is in none."""
    liked = liked_sets_of([[[0, 1, 2], [0], [1]]], 4)
    assert liked.scores([0]).tolist() == pytest.approx([1, 1 / 2, 1 / math.sqrt(2), 0])
    newer, older = 1 / 1.95, 0.95 / 1.95
    assert liked.scores([0, 2]).tolist() == pytest.approx(
        [older + newer / math.sqrt(2), older / 2 + newer / math.sqrt(2), older / math.sqrt(2) + newer, 0]
    )
    for history in ([], [3]):
        assert liked.scores(history).tolist() == [0, 0, 0, 0]
    assert liked.is_counted.tolist() == [True, True, True, False]


@pytest.mark.parametrize("seed", range(10))
def test_any_sets_give_what_loops_say(seed: int) -> None:
    rng = random.Random(seed)
    n_items = rng.choice([3, 12, 40])
    groups = [random_sets(rng, rng.randint(1, 30), n_items) for _ in range(rng.randint(1, 3))]
    liked = liked_sets_of(groups, n_items)
    for length in (1, 2, 9, 30):
        history = rng.choices(range(n_items), k=length)  # some stand there twice, and more than 20 different ones
        found = liked.scores(history)
        assert found.tolist() == pytest.approx(liked_by_loops(groups, history, n_items), abs=1e-12)
        assert (found >= 0).all()
    in_any = {item for sets in groups for one in sets for item in one}
    assert liked.is_counted.tolist() == [item in in_any for item in range(n_items)]


@pytest.mark.parametrize("seed", range(6))
def test_a_set_that_is_left_out_was_never_there(seed: int) -> None:
    rng = random.Random(seed)
    groups = [random_sets(rng, 8, 10), random_sets(rng, 12, 10)]
    liked = liked_sets_of(groups, 10)
    for number in range(8):
        others = [sets[:number] + sets[number + 1 :] for sets in groups]
        for history in (groups[0][number], rng.sample(range(10), 3)):
            expected = liked_by_loops(others, history, 10)
            assert liked.scores(history, number).tolist() == pytest.approx(expected, abs=1e-12)


def test_only_the_latest_twenty_count() -> None:
    liked = liked_sets_of([[[0, 1], [2, 3]]], 40)
    later = list(range(10, 30))
    assert liked.scores([0, *later])[1] == 0
    assert liked.scores([0, *later[1:]])[1] > 0
    assert liked.scores([2, 0]).tolist() == liked.scores([0, 2, 0]).tolist()


def test_what_a_set_has_twice_counts_once() -> None:
    group = LikedGroup.of([np.array([2, 0, 2], np.int32), [], [1]], 4)
    assert (group.n_sets, group.n_likes.tolist(), group.sets.tolist()) == (3, [1, 1, 1, 0], [0, 2, 0])
    assert group.starts.tolist() == [0, 1, 2, 3, 3]


def test_without_sets_there_is_nothing() -> None:
    for liked in (LikedSets((), 3), liked_sets_of([[]], 3), liked_sets_of([[[], []]], 3)):
        assert liked.scores([0, 2]).tolist() == [0, 0, 0]
        assert not liked.is_counted.any()
