"""Cosines of liked sets against plain loops."""

from __future__ import annotations

import math
import random

import pytest

from genrec_edge.prior.liked import LikedGroup, LikedSets


def by_loops(groups: list[list[list[int]]], n_items: int, history: list[int], left_out: int = -1) -> list[float]:
    """Return `liked` of each item as the definition has it; a set that is left out still counts in n_i and n_j."""
    newest_first = list(dict.fromkeys(reversed(history)))[:20]
    total = sum(0.95**age for age in range(len(newest_first)))
    scores = [0.0] * n_items
    for sets in groups:
        likes = [sum(item in one for one in sets) for item in range(n_items)]
        for j in range(n_items):
            for age, i in enumerate(newest_first):
                both = sum(i in one and j in one for number, one in enumerate(sets) if number != left_out)
                if both:
                    scores[j] += 0.95**age / total * both / math.sqrt(likes[i] * likes[j])
    return scores


@pytest.mark.parametrize("seed", range(8))
def test_they_are_what_loops_say(seed: int) -> None:
    rng = random.Random(seed)
    n_items = rng.choice([1, 7, 30])
    groups = [
        [[rng.randrange(n_items) for _ in range(rng.randrange(6))] for _ in range(rng.randrange(25))] for _ in range(2)
    ]
    liked = LikedSets(tuple(LikedGroup.of(sets, n_items) for sets in groups), n_items)
    for length in (0, 1, 5, 40):
        history = [rng.randrange(n_items) for _ in range(length)]
        left_out = rng.choice([-1, 0, 3])
        if left_out >= min(map(len, groups)):
            left_out = -1
        found = liked.scores(history, left_out).tolist()
        assert found == pytest.approx(by_loops(groups, n_items, history, left_out), abs=1e-9)
    counted = [any(item in one for sets in groups for one in sets) for item in range(n_items)]
    assert liked.is_counted.tolist() == counted


def test_what_everybody_liked_gains_nothing_by_it() -> None:
    """Ten like 0; of those who like 1 all like 2, too, and half like 0."""
    sets = [[0]] * 8 + [[1, 2], [1, 2], [0, 1, 2], [0, 1, 2]]
    scores = LikedSets((LikedGroup.of(sets, 3),), 3).scores([1])
    assert scores[2] == pytest.approx(1)
    assert scores[0] == pytest.approx(2 / math.sqrt(4 * 10))
