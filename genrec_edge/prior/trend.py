"""What everybody met lately: the events of the four weeks up to the last one before a request.

It says when somebody asks, and nothing of taste: what is new is met by many. Only one's own events give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_S = 28 * 86400.0
TREND_FLOOR = 1e-5
"""Share of an item that nobody met lately."""


@dataclass(frozen=True, slots=True, eq=False)
class TimedEvents:
    """Events in the order of time.

    Attributes:
        times: (n,) float64 seconds, ascending.
        items: (n,) int64, from 0 to `n_items` - 1.
        n_items: how many items there are.
    """

    times: NDArray[np.float64]
    items: NDArray[np.int64]
    n_items: int

    @classmethod
    def of(cls, times: NDArray[np.float64], items: NDArray[np.integer], n_items: int) -> Self:
        """Return events in any order."""
        order = np.argsort(times, kind="stable")
        return cls(times[order], items[order].astype(np.int64), n_items)

    def recent(self, time: float | None = None) -> NDArray[np.int64]:
        """Return the number of events with each item in the four weeks up to the last event before a time, (n_items,).

        Events at that time do not count; with None, all do. So counts that are old still say what was new to them.
        """
        last = len(self.times) if time is None else int(np.searchsorted(self.times, time, "left"))
        newest = float(self.times[last - 1]) if last else 0.0
        first = int(np.searchsorted(self.times, newest - WINDOW_S, "left"))
        return np.bincount(self.items[first:last], minlength=self.n_items)


def log_trend(recent: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log(1e-5 + share of the recent events) of each item, (n_items,), the same for all without any."""
    shares = recent / max(int(recent.sum()), 1)
    trend: NDArray[np.float64] = np.log(TREND_FLOOR + shares)
    return trend
