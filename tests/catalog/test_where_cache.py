"""Remembered conditions: the rows that were put in, of the right version, in bounded room."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.catalog.where_cache import RowSetCache

FAR = st.one_of(st.integers(0, 300), st.integers(-(2**63), 2**63 - 1))


@given(st.sets(FAR, max_size=60))
def test_what_was_put_comes_back(rows: set[int]) -> None:
    sets, ascending = RowSetCache(), np.array(sorted(rows), np.int64)
    sets.put(1, "condition", ascending)
    found = sets.get(1, "condition")
    assert found is not None
    assert found.dtype == np.int64
    assert found.tolist() == sorted(rows)


def test_nothing_of_another_version_or_condition_comes_back() -> None:
    sets = RowSetCache()
    sets.put(1, "a", np.arange(3))
    assert sets.get(1, "b") is None
    assert sets.get(2, "a") is None
    sets.put(2, "b", np.arange(4))
    assert sets.get(2, "a") is None
    assert sets.get(1, "a") is None


def test_a_caller_may_change_its_rows() -> None:
    for given_rows in (np.arange(100), np.array([5, 10**12])):
        sets, kept = RowSetCache(), given_rows.tolist()
        sets.put(1, "a", given_rows)
        given_rows[:] = 0
        for _ in range(2):
            found = sets.get(1, "a")
            assert found is not None
            assert found.tolist() == kept
            found[:] = 0


def test_the_least_recently_used_goes_first() -> None:
    sets = RowSetCache(max_bytes=250)  # room for two conditions over 800 rows
    for name in ("a", "b"):
        sets.put(1, name, np.arange(800))
    assert sets.get(1, "a") is not None
    sets.put(1, "c", np.arange(800))
    assert [name for name in "abc" if sets.get(1, name) is not None] == ["a", "c"]
    sets.put(1, "c", np.arange(800))  # again: counted once
    assert sets.get(1, "a") is not None
    sets.put(1, "large", np.arange(80_000))  # more than there is room for
    assert sets.get(1, "large") is None
