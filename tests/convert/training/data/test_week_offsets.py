"""What everybody met in the week of an event, against loops over the events."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from genrec_edge.convert.training.data.week_offsets import WeekOffsets
from tests.support.event_tables import dataset_of

WEEK = 7 * 86400
N_ITEMS, N_USERS = 6, 5


def events_of(seed: int) -> list[tuple[int, int, float]]:
    rng = random.Random(seed)
    return [
        (rng.randrange(N_USERS), rng.randrange(N_ITEMS), 1.3e9 + rng.randrange(4) * WEEK + rng.random() * WEEK)
        for _ in range(40)
    ]


def loops(events: list[tuple[int, int, float]], histories: list[list[int]], user: int, item: int) -> list[float]:
    """Return the share of each item in the week in which a user first met an item."""
    weeks: dict[tuple[int, int], int] = {}
    for one, met, time in sorted(events, key=lambda event: event[2]):
        if met in histories[one]:
            weeks.setdefault((one, met), math.floor(time / WEEK))
    all_items = [met for history in histories for met in history]
    all_time = [0.09 * all_items.count(j) / len(all_items) + 0.01 / N_ITEMS for j in range(N_ITEMS)]
    if (user, item) not in weeks:
        return [share / sum(all_time) for share in all_time]
    of_week = [met for (_, met), week in weeks.items() if week == weeks[user, item]]
    return [0.9 * of_week.count(j) / len(of_week) + all_time[j] for j in range(N_ITEMS)]


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_those_of_loops_and_sum_to_one(seed: int) -> None:
    events = events_of(seed)
    met: list[list[int]] = [[] for _ in range(N_USERS)]
    for user, item, _ in sorted(events, key=lambda event: event[2]):
        met[user].append(item)
    histories = [own[:-2] for own in met]  # the last two are held out
    offsets = WeekOffsets(dataset_of(events, N_USERS, N_ITEMS), [np.array(own, np.int32) for own in histories])
    for user in range(N_USERS):
        for item in range(N_ITEMS):
            found = offsets.log_shares(user, item)
            assert found.dtype == np.float32
            shares = np.exp(found.astype(np.float64))
            assert shares.tolist() == pytest.approx(loops(events, histories, user, item), rel=1e-5)
            assert shares.sum() == pytest.approx(1, abs=1e-5)


def test_what_everybody_met_that_week_is_expected_most() -> None:
    """Item 0 in the first week, item 1 in the second; a user's second event with an item counts for nothing."""
    events = [(0, 0, 0.0), (1, 0, 1.0), (0, 1, WEEK + 0.0), (1, 1, WEEK + 1.0), (0, 0, WEEK + 2.0), (2, 2, WEEK + 3.0)]
    histories = [np.array([0, 1, 0], np.int32), np.array([0, 1], np.int32), np.array([2], np.int32)]
    offsets = WeekOffsets(dataset_of(events, 3, 4), histories)
    first, second = np.exp(offsets.log_shares(0, 0)), np.exp(offsets.log_shares(0, 1))
    assert first.tolist() == pytest.approx([0.9 + 0.045 + 0.0025, 0.03 + 0.0025, 0.015 + 0.0025, 0.0025])
    assert second.tolist() == pytest.approx([0.045 + 0.0025, 0.6 + 0.03 + 0.0025, 0.3 + 0.015 + 0.0025, 0.0025])


def test_over_a_trie_other_titles_have_what_an_item_without_events_has() -> None:
    events = [(0, 0, 0.0), (0, 1, 1.0), (1, 1, 2.0)]
    offsets = WeekOffsets(dataset_of(events, 2, 3), [np.array([0, 1], np.int32), np.array([1], np.int32)])
    rows = np.array([4, 1, 0, 3, 2])  # 3 and 4 are titles that the data set does not have
    spread = offsets.over_trie(rows)(0, [1, 0])
    assert spread.shape == (2, 5)
    assert spread.dtype == np.float32
    for line, item in zip(spread, (1, 0), strict=True):
        of_items = offsets.log_shares(0, item)
        assert line[[2, 1, 4]].tolist() == of_items.tolist()
        assert line[[0, 3]].tolist() == pytest.approx([math.log(0.01 / 3)] * 2)
        assert line[4] == pytest.approx(math.log(0.01 / 3))  # nobody met item 2
