"""The shares of items in the week of an event against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genrec_edge.convert.training.data.week_offsets import WeekOffsets
from tests.support.event_tables import dataset_of

WEEK = 7 * 86400
# User 0 meets 0 and 1 in the first week, 2 in the third; user 1 meets 1 in the first and, again, in the second.
EVENTS = [(0, 1, 10), (0, 0, 20), (1, 1, 30), (1, 1, WEEK + 5), (1, 3, WEEK + 6), (0, 2, 2 * WEEK + 1)]


def test_they_are_what_loops_say() -> None:
    dataset = dataset_of([(user, item, float(time)) for user, item, time in EVENTS], n_users=2, n_items=5)
    histories = [np.array([1, 0, 2], np.int32), np.array([1, 1], np.int32)]  # user 1's last item is held out
    offsets = WeekOffsets(dataset, histories)
    all_time = [1 / 5, 3 / 5, 1 / 5, 0, 0]
    first_week = [1 / 3, 2 / 3, 0, 0, 0]  # item 1 by user 0 and, once, by user 1
    for user, item, of_week in ((0, 0, first_week), (1, 1, first_week), (0, 2, [0, 0, 1, 0, 0])):
        expected = [math.log(0.9 * w + 0.09 * a + 0.01 / 5) for w, a in zip(of_week, all_time, strict=True)]
        found = offsets.log_shares(user, item)
        assert found.tolist() == pytest.approx(expected, abs=1e-5)
        assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
    # What was held out, and what was never met, is explained beyond what is usual.
    for user, item in ((1, 3), (1, 4)):
        usual = [math.log((0.09 * a + 0.01 / 5) / 0.1) for a in all_time]
        assert offsets.log_shares(user, item).tolist() == pytest.approx(usual, abs=1e-5)


def test_positions_of_a_trie_have_the_shares_of_their_items() -> None:
    dataset = dataset_of([(user, item, float(time)) for user, item, time in EVENTS], n_users=2, n_items=5)
    offsets = WeekOffsets(dataset, [np.array([1, 0, 2], np.int32), np.array([1], np.int32)])
    rows = np.array([4, 7, 1, 0])  # 7 is an extra title
    found = offsets.over_trie(rows)(0, [0, 2])
    assert found.shape == (2, 4)
    assert found.dtype == np.float32
    for line, item in zip(found, (0, 2), strict=True):
        own = offsets.log_shares(0, item)
        assert line.tolist() == [own[4], pytest.approx(math.log(0.01 / 5)), own[1], own[0]]
