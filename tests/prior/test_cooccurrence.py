"""Sparse counts against nested loops and dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.prior.cooccurrence import SparseRows, concatenated, count_transitions, event_counts
from tests.support.priors import HISTORIES, N_ITEMS, arrays, followed


def dense(matrix: SparseRows) -> list[list[float]]:
    found = np.zeros(matrix.shape)
    found[matrix.rows, matrix.columns] = matrix.values
    return list(found.tolist())


@pytest.mark.slow
@given(lists=HISTORIES)
def test_transitions_are_their_definition(lists: list[list[int]]) -> None:
    found = dense(count_transitions(arrays(lists), N_ITEMS, 10))
    for i in range(N_ITEMS):
        assert found[i] == pytest.approx([followed(lists, i, j) for j in range(N_ITEMS)])


@pytest.mark.slow
@given(lists=HISTORIES, data=st.data())
def test_transitions_of_a_prefix_and_of_the_rest_add_up(lists: list[list[int]], data: st.DataObject) -> None:
    cuts = [data.draw(st.integers(0, len(items))) for items in lists]
    prefixes = arrays([items[:cut] for items, cut in zip(lists, cuts, strict=True)])
    before = np.array(dense(count_transitions(prefixes, N_ITEMS, 4)))
    after = np.array(dense(count_transitions(arrays(lists), N_ITEMS, 4, cuts)))
    assert before + after == pytest.approx(np.array(dense(count_transitions(arrays(lists), N_ITEMS, 4))))


def test_rows_are_summed_with_weights_and_entries_of_one_cell_are_added() -> None:
    rows, columns = np.array([0, 2, 0, 2]), np.array([1, 0, 1, 2])
    matrix = SparseRows(rows, columns, np.array([1.0, 2.0, 3.0, 4.0]), (3, 3))
    assert dense(matrix) == [[0, 4, 0], [0, 0, 0], [2, 0, 4]]
    assert [found.tolist() for found in matrix.row(2)] == [[0, 2], [2, 4]]
    sums = matrix.sums(np.array([2, 0, 2]), np.array([[1.0, 1.0, 1.0], [0.5, 2.0, 0.0]]))
    assert sums.tolist() == [[4, 4, 8], [1, 8, 2]]
    assert dense(matrix.symmetrized()) == (np.array(dense(matrix)) + np.array(dense(matrix)).T).tolist()


def test_events_are_counted_and_no_arrays_are_an_empty_array() -> None:
    assert event_counts(arrays([[0, 1, 1], [], [1]]), 3).tolist() == [1, 3, 0]
    assert concatenated([]).tolist() == []
