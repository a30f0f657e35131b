"""Intervals and paired tests against exact ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genrec_edge.evaluation.significance import compare, estimate


def test_the_bootstrap_has_the_binomial_interval_of_a_hit_rate() -> None:
    n, n_hits = 400, 60
    found = estimate(np.repeat([1.0, 0.0], [n_hits, n - n_hits]))
    share = n_hits / n
    below = np.cumsum([math.comb(n, h) * share**h * (1 - share) ** (n - h) for h in range(n + 1)])
    exact = [np.searchsorted(below, level) / n for level in (0.025, 0.975)]  # of resampled means, all draws counted
    assert found.mean == share
    assert [found.low, found.high] == pytest.approx(exact, abs=1.01 / n)
    assert found == estimate(np.repeat([1.0, 0.0], [n_hits, n - n_hits]))
    assert found != estimate(np.repeat([1.0, 0.0], [n_hits, n - n_hits]), seed=1)
    assert math.isnan(estimate(np.empty(0)).mean)


def test_the_interval_of_many_users_is_drawn_in_blocks() -> None:
    values = np.random.default_rng(3).normal(size=300_000)
    found = estimate(values, resamples=40)  # a block holds three resamples of so many users
    error = values.std() / math.sqrt(len(values))
    assert 1 < (found.high - found.low) / error < 6
    assert found.low < found.mean < found.high


@pytest.mark.parametrize(("better", "worse"), [(12, 3), (9, 6), (30, 10), (5, 0)])
def test_the_test_of_hit_rates_is_mcnemars(better: int, worse: int) -> None:
    ours = np.repeat([1.0, 0.0, 1.0, 0.0], [better, worse, 50, 100])
    theirs = np.repeat([0.0, 1.0, 1.0, 0.0], [better, worse, 50, 100])
    n = better + worse
    tail = sum(math.comb(n, i) for i in range(better, n + 1)) / 2**n
    found = compare(ours, theirs)
    exact = min(1.0, 2 * tail)
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 10_000) + 1e-4)
    assert found.difference.mean == pytest.approx((better - worse) / len(ours))
    assert found.difference.low < found.difference.mean < found.difference.high


@pytest.mark.slow
@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, -0.1, -0.3, 1.0]), max_size=8), st.integers(0, 3))
@example([0.1, -0.1, 1.0, -0.1, -0.3, -0.3, -0.3], 0)  # sums that would be 0
def test_the_test_is_that_of_all_signs(values: list[float], seed: int) -> None:
    differences = np.array(values)
    signs = list(itertools.product([1, -1], repeat=len(values)))
    observed = abs(differences.sum())
    exact = np.mean([abs(np.dot(s, differences)) >= observed - 1e-9 for s in signs])
    found = compare(differences + 1, np.ones(len(values)), resamples=4000, seed=seed)
    assert found.p == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 4000) + 1e-3)


def test_the_test_has_no_side_and_no_favourite() -> None:
    rng = np.random.default_rng(5)
    ours, theirs = rng.random(60), rng.random(60) * 0.9
    there, back = compare(ours, theirs), compare(theirs, ours)
    assert there.p == back.p
    assert there.difference.mean == pytest.approx(-back.difference.mean)
    assert compare(ours, ours).p == 1
    assert compare(ours + 1, ours).p == pytest.approx(1 / 10_001)
