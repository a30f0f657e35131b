"""Events of users with items, what is decided over all of them, and their order. `event_reader.py` reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from genrec_edge.errors import UsageError
from genrec_edge.records import Repeats, TimeUnit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EventOptions:
    """How events are read.

    Attributes:
        time_unit: of timestamps that are numbers.
        skip_unknown: leave out events whose item is not in the item table, instead of raising an error.
        repeats: "drop" keeps a user's first event with each item only; of equal timestamps the first in the file.
        is_ours: the file was written by `importer.py`: ids and numbers are read as they stand.
    """

    time_unit: TimeUnit = "auto"
    skip_unknown: bool = False
    repeats: Repeats = "keep"
    is_ours: bool = False

    def check(self) -> None:
        """Raise UsageError for a choice that is not known."""
        for name, value, known in (
            ("time_unit", self.time_unit, get_args(TimeUnit)),
            ("repeats", self.repeats, get_args(Repeats)),
        ):
            if value not in known:
                raise UsageError(f"`{name}` must be one of {', '.join(known)}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Events:
    """Events in the order of their file.

    Attributes:
        user_ids: distinct, in the order of their first event.
        users: (n_events,) int32, positions in `user_ids`.
        items: (n_events,) int32, positions in the item table.
        timestamps: (n_events,) float64, seconds.
        ratings: (n_events,) float32, NaN where there is none.
        n_left_out: events that the options left out.
        notes: sentences about what was left out, and what had to be decided.
    """

    user_ids: tuple[str, ...]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    timestamps: NDArray[np.float64]
    ratings: NDArray[np.float32]
    n_left_out: int = 0
    notes: tuple[str, ...] = ()


def without_repeats(events: Events, repeats: Repeats) -> Events:
    """Return events as `EventOptions.repeats` says, with a note about those left out or, if kept, given twice."""
    order = np.lexsort((events.timestamps, events.items, events.users))  # stable: the first in the file comes first
    users, items, times = events.users[order], events.items[order], events.timestamps[order]
    is_repeat = (users[1:] == users[:-1]) & (items[1:] == items[:-1])
    if repeats == "keep":
        n_doubled = int(np.count_nonzero(is_repeat & (times[1:] == times[:-1])))
        note = f"kept: {counted(n_doubled)} with user, item and time of an earlier one"
        return replace(events, notes=(*events.notes, note)) if n_doubled else events
    keep = np.ones(len(order), np.bool_)
    keep[order[1:][is_repeat]] = False
    n_dropped = int(np.count_nonzero(~keep))
    if not n_dropped:
        return events
    return replace(
        events,
        users=events.users[keep],
        items=events.items[keep],
        timestamps=events.timestamps[keep],
        ratings=events.ratings[keep],
        n_left_out=events.n_left_out + n_dropped,
        notes=(*events.notes, f"left out: {counted(n_dropped)} with an item that the user had met before"),
    )


def counted(n: int) -> str:
    """Return how many events, in words."""
    return "1 event" if n == 1 else f"{n:,} events"


def group_by_user(
    timestamps: NDArray[np.float64],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    n_users: int,
    ties: str,
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float64]]]:
    """Return the items and the timestamps of each user's events, oldest first; empty for users without events.

    Events with equal timestamps keep their order with ties of "file"; otherwise they are sorted by ascending item.
    """
    by_time = (timestamps, users)
    order = np.lexsort(by_time if ties == "file" else (items, *by_time))  # stable
    ends = np.cumsum(np.bincount(users, minlength=n_users))[:-1]
    return np.split(items[order], ends), np.split(timestamps[order], ends)
