"""Reads the rows of a table as interactions: user, item, timestamp and rating.

Knows columns and cells; nothing of folders, catalogs and splits. All invalid rows are counted before the one error is
raised, which shows the first few.
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
from genrec_edge.storage.cells import scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from genrec_edge.storage.tables import TableSource

_COLUMN_NAMES = {
    "user": ("user", "userid", "uid", "reviewerid", "visitorid", "customerid"),
    "item": ("item", "itemid", "movieid", "bookid", "productid", "trackid", "asin", "parentasin", "isbn", "sku"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "datetime", "date"),
    "rating": ("rating", "overall", "stars", "score"),
}
"""Usual names of the columns, the likeliest first, in lower case and without punctuation."""
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
    """The positions of the cells in a row; `rating` is None where the file has no such column."""

    user: int
    item: int
    timestamp: int
    rating: int | None


def find_columns(source: TableSource, named: Mapping[str, str | None]) -> EventColumns:
    """Find the columns "user", "item", "timestamp" and "rating": those in `named`, else the first usual name present.

    A JSON source is read once for this.

    Raises:
        UsageError: a named column does not exist, or no column looks like the user, the item or the timestamp; the
            message lists all of them.
    """
    if not source.columns:
        deque(source.rows(), maxlen=0)
    names = [name.casefold() for name in source.columns]
    simple = ["".join(c for c in name if c.isalnum()) for name in names]
    found: dict[str, int] = {}
    missing: dict[str, str] = {}
    for role, usual in _COLUMN_NAMES.items():
        name = named.get(role)
        if name is not None:
            if name.casefold() in names:
                found[role] = names.index(name.casefold())
            else:
                missing[role] = f"no column {name!r}"
            continue
        present = [simple.index(word) for word in usual if word in simple]
        if present:
            found[role] = present[0]
        elif role != "rating":
            missing[role] = f"no column looks like the {role}"
    if missing:
        message = f"{source.path}: {', '.join(missing.values())}; the columns are: {', '.join(source.columns)}"
        arguments = ", ".join(f"`{role}`" for role in missing)
        raise UsageError(message, hint=f"name the column with {arguments}")
    return EventColumns(found["user"], found["item"], found["timestamp"], found.get("rating"))


def read_events(
    source: TableSource,
    at: EventColumns,
    item_index: Mapping[str, int],
    on_progress: Callable[[float], object] | None = None,
) -> Events:
    """Read all events of a source; a timestamp is a number of seconds or an ISO 8601 date (UTC without an offset).

    Args:
        source: a file of rows.
        at: the positions of the columns.
        item_index: index of each item by its id.
        on_progress: called with the share read, 0..1.

    Raises:
        UsageError: rows that cannot be read or are invalid, with their numbers and values; or no rows at all.
    """
    user_index: dict[str, int] = {}
    users, items, timestamps, ratings = array("i"), array("i"), array("d"), array("f")
    problems: list[str] = []
    n_invalid = 0
    width = max(at.user, at.item, at.timestamp, -1 if at.rating is None else at.rating) + 1
    for n_rows, (number, row) in enumerate(source.rows()):
        cells = row if len(row) >= width else [*row, *[None] * (width - len(row))]
        rating_cell = None if at.rating is None else scalar(cells[at.rating])
        user, item_id = scalar(cells[at.user]), scalar(cells[at.item])
        item = item_index.get(str(item_id))
        timestamp = _seconds(cells[at.timestamp])
        rating = math.nan if rating_cell is None else _number(rating_cell)
        if user is None or item is None or timestamp is None or rating is None or abs(rating) > _MAX_RATING:
            n_invalid += 1
            if n_invalid <= _MAX_SHOWN:
                problem = _problem(user, item_id, item, cells[at.timestamp], timestamp, rating_cell)
                problems.append(f"{source.unit} {number}: {problem}")
            continue
        users.append(user_index.setdefault(str(user), len(user_index)))
        items.append(item)
        timestamps.append(timestamp)
        ratings.append(rating)
        if on_progress is not None and not n_rows % 1024:
            on_progress(source.share_read)
    if n_invalid:
        if n_invalid > len(problems):
            problems.append(f"and {n_invalid - len(problems):,} more")
        rows = "1 event" if n_invalid == 1 else f"{n_invalid:,} events"
        message = f"{source.path}: {rows} cannot be used: {'; '.join(problems)}"
        raise UsageError(message, hint="correct or remove them; every item must be in the item table")
    if not users:
        raise UsageError(f"{source.path} has no events")
    return Events(
        tuple(user_index),
        np.frombuffer(users, np.int32),
        np.frombuffer(items, np.int32),
        np.frombuffer(timestamps, np.float64),
        np.frombuffer(ratings, np.float32),
    )


def _problem(
    user: object, item_id: object, item: int | None, time_cell: object, timestamp: float | None, rating_cell: object
) -> str:
    """Return what is wrong with the first invalid cell of a row."""
    if user is None:
        return "no user"
    if item is None:
        return "no item" if item_id is None else f"unknown item {reprlib.repr(item_id)}"
    if timestamp is None:
        return "no timestamp" if scalar(time_cell) is None else f"timestamp {reprlib.repr(time_cell)}"
    return f"rating {reprlib.repr(rating_cell)}"


def _seconds(cell: object) -> float | None:
    """Return a timestamp in seconds, or None for a cell that is not a timestamp."""
    number = _number(cell)
    if number is not None or not isinstance(cell, str):
        return number
    try:
        when = datetime.fromisoformat(cell.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(cell: object) -> float | None:
    """Return a cell as a finite number, or None. `float` alone would read "1_0" as ten."""
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
    """Return the items and the timestamps of each user's events, oldest first; empty for users without events.

    Events with equal timestamps keep their order with ties of "file"; otherwise they are sorted by ascending item.
    """
    by_time = (timestamps, users)
    order = np.lexsort(by_time if ties == "file" else (items, *by_time))  # stable
    ends = np.cumsum(np.bincount(users, minlength=n_users))[:-1]
    return np.split(items[order], ends), np.split(timestamps[order], ends)
