"""Rows of a file as events: who met which item when, and what it was rated.

Knows columns and cells; nothing of folders, catalogs and splits. All rows that cannot be used are counted before the
one error is raised, which shows the first few.
"""

from __future__ import annotations

import math
import reprlib
from array import array
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError
from genrec_edge.storage.infer_columns import scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from genrec_edge.storage.tables import TableSource

_USUAL = {
    "user": ("user", "userid", "uid", "reviewerid", "visitorid", "customerid"),
    "item": ("item", "itemid", "movieid", "bookid", "productid", "trackid", "asin", "parentasin", "isbn", "sku"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "datetime", "date"),
    "rating": ("rating", "overall", "stars", "score"),
}
_MAX_SHOWN = 5
_MAX_RATING = 1e30  # far below the largest float32


@dataclass(frozen=True, slots=True)
class Events:
    """Events in the order of their file.

    Attributes:
        user_ids: distinct, in the order of their first event.
        users: (n_events,) int32, positions in `user_ids`.
        items: (n_events,) int32, positions in the item table.
        timestamps: (n_events,) float64, seconds.
        ratings: (n_events,) float32, NaN where there is none.
    """

    user_ids: tuple[str, ...]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    timestamps: NDArray[np.float64]
    ratings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Where the cells of an event stand in a row; `rating` is None where the file has no such column."""

    user: int
    item: int
    timestamp: int
    rating: int | None


def find_columns(source: TableSource, named: Mapping[str, str | None]) -> EventColumns:
    """Find the columns "user", "item", "timestamp" and "rating": those named, else the first usual name present.

    A JSON source is read once for it.

    Raises:
        UsageError: columns that do not exist, or nothing that could be the user, the item or the timestamp; all in one.
    """
    if not source.columns:
        deque(source.rows(), maxlen=0)
    names = [name.casefold() for name in source.columns]
    simple = ["".join(c for c in name if c.isalnum()) for name in names]
    found: dict[str, int] = {}
    missing, options = [], []
    for role, usual in _USUAL.items():
        name = named.get(role)
        if name is not None and name.casefold() in names:
            found[role] = names.index(name.casefold())
        elif name is None and (there := [simple.index(word) for word in usual if word in simple]):
            found[role] = there[0]
        elif name is not None or role != "rating":
            missing.append(f"no column {name!r}" if name is not None else f"no column looks like the {role}")
            options.append(f"--{role}")
    if missing:
        message = f"{source.path}: {', '.join(missing)}; the columns are: {', '.join(source.columns)}"
        raise UsageError(message, hint=f"name the column with {', '.join(options)}")
    return EventColumns(found["user"], found["item"], found["timestamp"], found.get("rating"))


def read_events(
    source: TableSource,
    at: EventColumns,
    item_index: Mapping[str, int],
    on_progress: Callable[[float], object] | None = None,
) -> Events:
    """Read all events of a source; a timestamp is a number of seconds or an ISO 8601 date (UTC if it does not say).

    Args:
        source: a file of rows.
        at: which columns mean what.
        item_index: position of each item by its id.
        on_progress: told the share read, 0..1.

    Raises:
        UsageError: rows that cannot be read or used, with their numbers and values; or no rows at all.
    """
    positions: dict[str, int] = {}
    users, items, timestamps, ratings = array("i"), array("i"), array("d"), array("f")
    findings: list[str] = []
    n_bad = 0
    width = max(at.user, at.item, at.timestamp, -1 if at.rating is None else at.rating) + 1
    for n_rows, (number, row) in enumerate(source.rows()):
        cells = row if len(row) >= width else [*row, *[None] * (width - len(row))]
        rating_cell = None if at.rating is None else scalar(cells[at.rating])
        user, item_id = scalar(cells[at.user]), scalar(cells[at.item])
        item = item_index.get(str(item_id))
        timestamp = _seconds(cells[at.timestamp])
        rating = math.nan if rating_cell is None else _number(rating_cell)
        if user is None or item is None or timestamp is None or rating is None or abs(rating) > _MAX_RATING:
            n_bad += 1
            if n_bad <= _MAX_SHOWN:
                what = _problem(user, item_id, item, cells[at.timestamp], timestamp, rating_cell)
                findings.append(f"{source.unit} {number}: {what}")
            continue
        users.append(positions.setdefault(str(user), len(positions)))
        items.append(item)
        timestamps.append(timestamp)
        ratings.append(rating)
        if on_progress is not None and not n_rows % 1024:
            on_progress(source.share_read)
    if n_bad:
        if n_bad > len(findings):
            findings.append(f"and {n_bad - len(findings):,} more")
        rows = "1 event" if n_bad == 1 else f"{n_bad:,} events"
        message = f"{source.path}: {rows} cannot be used: {'; '.join(findings)}"
        raise UsageError(message, hint="correct or remove them; every item has to be in the item table")
    if not users:
        raise UsageError(f"{source.path} has no events")
    return Events(
        tuple(positions),
        np.frombuffer(users, np.int32),
        np.frombuffer(items, np.int32),
        np.frombuffer(timestamps, np.float64),
        np.frombuffer(ratings, np.float32),
    )


def _problem(
    user: object, item_id: object, item: int | None, time_cell: object, timestamp: float | None, rating_cell: object
) -> str:
    """Say what is wrong with the first cell of a row that cannot be used."""
    if user is None:
        return "no user"
    if item is None:
        return "no item" if item_id is None else f"unknown item {reprlib.repr(item_id)}"
    if timestamp is None:
        return "no timestamp" if scalar(time_cell) is None else f"timestamp {reprlib.repr(time_cell)}"
    return f"rating {reprlib.repr(rating_cell)}"


def _seconds(cell: object) -> float | None:
    """Return a timestamp in seconds, or None for what is none."""
    number = _number(cell)
    if number is not None or not isinstance(cell, str):
        return number
    try:
        when = datetime.fromisoformat(cell.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(cell: object) -> float | None:
    """Return a cell as a finite number, or None. Python alone would read "1_0" as ten."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float) or (isinstance(cell, str) and "_" in cell):
        return None
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def group_by_user(
    timestamps: NDArray[np.float64],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    n_users: int,
    ties: str,
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float64]]]:
    """Return the items and the times of each user's events, oldest first; those of users without events are empty.

    Events of one time stay in the order given for ties of "file", and stand by ascending item else.
    """
    by_time = (timestamps, users)
    order = np.lexsort(by_time if ties == "file" else (items, *by_time))  # stable
    ends = np.cumsum(np.bincount(users, minlength=n_users))[:-1]
    return np.split(items[order], ends), np.split(timestamps[order], ends)
