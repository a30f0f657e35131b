"""What everybody met lately, against loops."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from genrec_edge.prior.trend import TimedEvents, log_trend

DAY = 86400.0


@pytest.mark.parametrize("seed", range(4))
def test_the_events_of_four_weeks_before_a_time_count(seed: int) -> None:
    rng = random.Random(seed)
    events = [(rng.choice([rng.uniform(0, 90), float(rng.randint(0, 90))]) * DAY, rng.randrange(6)) for _ in range(60)]
    made = TimedEvents.of(np.array([time for time, _ in events]), np.array([item for _, item in events]), 7)
    for time in [-1.0, 0.0, *(rng.choice(events)[0] for _ in range(5)), 30 * DAY, 200 * DAY]:
        before = [(t, item) for t, item in events if t < time]
        newest = max((t for t, _ in before), default=0.0)
        expected = [sum(item == i and newest - 28 * DAY <= t for t, item in before) for i in range(7)]
        assert made.recent(time).tolist() == expected
    last = max(time for time, _ in events)
    assert made.recent().tolist() == [sum(item == i and last - 28 * DAY <= t for t, item in events) for i in range(7)]


def test_without_events_nothing_is_recent() -> None:
    nothing = TimedEvents.of(np.empty(0), np.empty(0, np.int64), 3)
    assert (nothing.recent().tolist(), nothing.recent(5.0).tolist()) == ([0, 0, 0], [0, 0, 0])
    assert len(set(log_trend(nothing.recent()).tolist())) == 1


def test_the_trend_is_the_log_of_a_share_with_a_floor() -> None:
    found = log_trend(np.array([3, 0, 1]))
    assert found.tolist() == pytest.approx([math.log(0.75001), math.log(1e-5), math.log(0.25001)])
