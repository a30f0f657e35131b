"""EASE against a general least-squares solver, and its forms for many items against the plain one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.errors import UsageError
from genrec_edge.evaluation.ease import EASE, inverted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

N_ITEMS = 7
HISTORIES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=9), min_size=1, max_size=6)
HISTORY = st.lists(st.integers(0, N_ITEMS - 1), max_size=6)


def scores_of(ease: EASE, train: Sequence[Sequence[int]], history: Sequence[int], n: int) -> NDArray[np.float64]:
    ease.fit([np.array(items, np.int32) for items in train], n)
    return ease.scores(np.array(history, np.int32))


@pytest.mark.slow
@given(HISTORIES, HISTORY, st.sampled_from([0.5, 3.0]), st.sampled_from([0, 10_000]))
def test_ease_solves_its_regressions(train: list[list[int]], history: list[int], l2: float, plain_items: int) -> None:
    """Each column of B is a ridge regression of one item on all others, which a least-squares solver does as well."""
    matrix = np.array([[float(i in items) for i in range(N_ITEMS)] for items in train])
    weights = np.zeros((N_ITEMS, N_ITEMS))
    for j in range(N_ITEMS):
        others = [i for i in range(N_ITEMS) if i != j]
        stacked = np.vstack([matrix[:, others], math.sqrt(l2) * np.eye(N_ITEMS - 1)])
        target = np.concatenate([matrix[:, j], np.zeros(N_ITEMS - 1)])
        weights[others, j] = np.linalg.lstsq(stacked, target)[0]
    expected = sum((weights[i] for i in set(history)), np.zeros(N_ITEMS))
    found = scores_of(EASE(l2=l2, plain_items=plain_items), train, history, N_ITEMS)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n_users", "n_items"), [(300, 60), (40, 150), (2, 9)])
def test_the_forms_for_many_items_equal_the_plain_one(n_users: int, n_items: int) -> None:
    rng = np.random.default_rng(0)
    train = [rng.integers(0, n_items, rng.integers(1, 25)).tolist() for _ in range(n_users)]
    for _ in range(10):
        history = rng.integers(0, n_items + 3, 8).tolist()
        plain = scores_of(EASE(), train, history, n_items + 3)
        assert scores_of(EASE(plain_items=0), train, history, n_items + 3) == pytest.approx(plain, abs=1e-11)
        assert np.any(plain)


def test_items_without_events_cost_nothing_and_score_nothing() -> None:
    rng = np.random.default_rng(0)
    train = [rng.choice(50, 8, replace=False).tolist() for _ in range(40)]
    few = scores_of(EASE(), train, [3, 4], 50)
    many = scores_of(EASE(), [[20_000 * i for i in items] for items in train], [60_000, 80_000, 5], 1_000_000)
    assert many[: 50 * 20_000 : 20_000] == pytest.approx(few, abs=1e-15)
    assert np.count_nonzero(many) == np.count_nonzero(few)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plain_items", "n_users", "needed"), [(10_000, 3, "0.1 GB"), (0, 3, "0.0 GB"), (0, 5000, "0.0 GB")]
)
def test_what_does_not_fit_in_memory_is_refused_with_its_size(plain_items: int, n_users: int, needed: str) -> None:
    train = [np.arange(2000, dtype=np.int32)] * n_users
    with pytest.raises(UsageError) as caught:
        EASE(plain_items=plain_items, max_bytes=10).fit(train, 1_000_000)
    assert caught.value.message == (
        f"EASE over 2,000 items with events and {n_users:,} users needs {needed} of memory, 0.0 GB are free"
    )
    assert "`min_count`" in caught.value.hint


@pytest.mark.parametrize("n", [1, 5, 64, 65, 200])
def test_blocks_invert_as_the_whole_does(n: int) -> None:
    rows = np.random.default_rng(n).random((2 * n, n))
    matrix = rows.T @ rows + np.eye(n)
    expected = np.linalg.inv(matrix)
    assert inverted(matrix, 64) is matrix
    assert matrix == pytest.approx(expected, abs=1e-10)
