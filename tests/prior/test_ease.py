"""EASE against ridge regressions, and without a history against counting the others alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from genrec_edge.prior.ease import EaseInverse
from tests.support.priors import HISTORIES, HISTORY, N_ITEMS, arrays, ease


@pytest.mark.slow
@given(lists=HISTORIES, history=HISTORY)
def test_scores_are_those_of_the_regressions(lists: list[list[int]], history: list[int]) -> None:
    found = EaseInverse.of(arrays(lists), N_ITEMS).scores(np.unique(np.array(history, np.int64)))
    assert found.tolist() == pytest.approx(ease(lists, history), abs=2e-5)


@pytest.mark.slow
@given(lists=HISTORIES)
def test_a_history_taken_out_leaves_the_diagonal_of_the_others(lists: list[list[int]]) -> None:
    inverse = EaseInverse.of(arrays(lists), N_ITEMS)
    gram = 100 * np.eye(len(inverse.items))
    for items in lists[1:]:
        row = np.isin(inverse.items, items).astype(np.float64)
        gram += np.outer(row, row)
    truth = np.linalg.inv(gram)
    without = inverse.without(np.array(lists[0], np.int64))
    assert without.diagonal.tolist() == pytest.approx(np.diag(truth).tolist(), rel=1e-4)


def test_many_users_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [[i % 9, (i * i) % 7] for i in range(23)]
    whole = EaseInverse.of(arrays(lists), 9)
    monkeypatch.setattr("genrec_edge.prior.ease._USERS_AT_ONCE", 4)
    assert EaseInverse.of(arrays(lists), 9).inverse.tolist() == whole.inverse.tolist()


def test_positions_leave_out_items_that_are_not_covered() -> None:
    inverse = EaseInverse.of(arrays([[1, 4], [4, 6]]), 9)
    assert inverse.items.tolist() == [1, 4, 6]
    assert inverse.positions(np.array([6, 0, 8, 1])).tolist() == [2, 0]
    assert inverse.to_catalog(np.array([[0.5, 0.0, 0.25]])).tolist() == [[0, 0.5, 0, 0, 0, 0, 0.25, 0, 0]]
