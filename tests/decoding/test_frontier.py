"""The order in which a frontier gives out siblings."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.decoding.frontier import Frontier, Siblings

bounds_st = st.lists(st.lists(st.sampled_from([-4.0, -3.0, -1.5, -1.0]), max_size=5), max_size=8)


def siblings(parent: int, bounds: list[float]) -> Siblings:
    n = len(bounds)
    descending = sorted(bounds, reverse=True)
    ids = np.arange(n, dtype=np.int32)
    return Siblings(parent, descending, np.array(descending), np.arange(n), ids, ids)


def drain(frontier: Frontier, threshold: float) -> list[tuple[float, int]]:
    """Return bound and parent of everything, in the order that a search takes it."""
    found = []
    while frontier:
        bound, taken = frontier.bound, frontier.pop()
        found.append((bound, taken.parent))
        taken.next += 1
        frontier.push(taken, threshold)
    return found


@given(bounds_st, st.sampled_from([-math.inf, -3.0, -1.0]))
def test_everything_above_the_threshold_comes_out_best_first(all_bounds: list[list[float]], threshold: float) -> None:
    frontier = Frontier(count())
    for parent, bounds in enumerate(all_bounds):
        frontier.push(siblings(parent, bounds), threshold)
    found = drain(frontier, threshold)
    expected = [bound for bounds in all_bounds for bound in bounds if bound > threshold]
    assert [bound for bound, _ in found] == sorted(expected, reverse=True)
    assert frontier.bound == -math.inf


def test_of_equal_bounds_the_first_pushed_comes_first() -> None:
    frontier = Frontier(count())
    for parent in (7, 3, 5):
        frontier.push(siblings(parent, [-1.0]), -math.inf)
    assert [parent for _, parent in drain(frontier, -math.inf)] == [7, 3, 5]


@pytest.mark.slow
@given(bounds_st, bounds_st)
def test_merged_frontiers_are_as_one(left: list[list[float]], right: list[list[float]]) -> None:
    tickets = count()
    one, other = Frontier(tickets), Frontier(tickets)
    for frontier, all_bounds in ((one, left), (other, right)):
        for parent, bounds in enumerate(all_bounds):
            frontier.push(siblings(parent, bounds), -math.inf)
    one.merge(other)
    found = [bound for bound, _ in drain(one, -math.inf)]
    assert found == sorted((bound for bounds in left + right for bound in bounds), reverse=True)


def test_the_bound_of_siblings_is_that_of_the_next_one() -> None:
    some = siblings(1, [-2.0, -1.0])
    assert some.bound == -1.0
    some.next = 1
    assert some.bound == -2.0
    some.next = 2
    assert some.bound == -math.inf
