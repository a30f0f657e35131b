"""The rows of one user in the file of profiles: reading and writing them over an open connection.

`store.py` opens the file and decides what is summarised; `db.py` has the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from genrec_edge.profiles.db import parts_from_json, parts_to_json
from genrec_edge.profiles.records import Profile
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from genrec_edge.profiles.records import ProfileEvent
    from genrec_edge.profiles.summaries import HistorySummary


_FIRST_CLEAR_SECOND = 1e8
"""In 1973; as milliseconds, an earlier one could be a number of seconds."""


@dataclass(frozen=True, slots=True)
class SummaryState:
    """What the summary of a user is made of, the place of the first event after it, and the version of the row."""

    parts: tuple[HistorySummary, ...]
    done: int
    version: int


def read_profile(connection: sqlite3.Connection, user: str) -> Profile | None:
    """Return the profile of a user, None without one.

    Raises:
        ValueError: a cell has a value of another type than its column.
    """
    query = "SELECT catalog, text, kind, n_summarised, updated, done FROM profiles WHERE user = ?"
    row = connection.execute(query, [user]).fetchone()
    if row is None:
        return None
    catalog, text, kind, n_summarised, updated, done = row
    if not all(isinstance(cell, str) for cell in (catalog, text, kind, updated)) or not isinstance(done, int):
        raise ValueError("a cell has a value of another type than its column")
    counts = "SELECT count(*), count(*) FILTER (WHERE liked AND place >= ?) FROM events WHERE user = ?"
    n_events, n_waiting = connection.execute(counts, [done, user]).fetchone()
    return Profile(user, catalog, text, kind, n_events, n_summarised, n_waiting, updated)


def read_state(connection: sqlite3.Connection, user: str) -> SummaryState | None:
    """Return the state of a user's summary, None without a profile.

    Raises:
        ValueError: the parts of the summary cannot be read.
    """
    row = connection.execute("SELECT parts, done, version FROM profiles WHERE user = ?", [user]).fetchone()
    return None if row is None else SummaryState(parts_from_json(row[0]), row[1], row[2])


def waiting_events(connection: sqlite3.Connection, user: str, done: int) -> list[tuple[int, str]]:
    """Return (place, item id) of the liked events from the place `done` on, oldest first."""
    query = "SELECT place, item FROM events WHERE user = ? AND liked AND place >= ? ORDER BY place"
    return connection.execute(query, [user, done]).fetchall()


def latest_liked(connection: sqlite3.Connection, user: str, n: int) -> tuple[Interaction, ...]:
    """Return the latest n items that a user liked, oldest first."""
    query = "SELECT title, item FROM events WHERE user = ? AND liked ORDER BY place DESC LIMIT ?"
    latest = connection.execute(query, [user, n]).fetchall()
    return tuple(Interaction(title, item_id) for title, item_id in reversed(latest))


def seen_ids(connection: sqlite3.Connection, user: str) -> tuple[str, ...]:
    """Return the ids of all items with an event of a user."""
    query = "SELECT DISTINCT item FROM events WHERE user = ?"
    return tuple(item_id for (item_id,) in connection.execute(query, [user]))


def catalog_of(connection: sqlite3.Connection, user: str) -> str | None:
    """Return the name of the catalog of a profile, None without a profile."""
    row = connection.execute("SELECT catalog FROM profiles WHERE user = ?", [user]).fetchone()
    return None if row is None else row[0]


def insert_profile(connection: sqlite3.Connection, user: str, catalog: str) -> None:
    """Begin the profile of a user, without events and summary."""
    connection.execute("INSERT INTO profiles VALUES (?, ?, '', '', '[]', 0, 0, 0, ?)", [user, catalog, _now()])


def insert_events(connection: sqlite3.Connection, user: str, events: Sequence[ProfileEvent]) -> int:
    """Add events after those of a user; return how many were not there before."""
    query = "SELECT ifnull(max(place) + 1, 0) FROM events WHERE user = ?"
    (first_place,) = connection.execute(query, [user]).fetchone()
    n_new = 0
    for event in events:
        if _is_known(connection, user, event):
            continue
        row = (user, first_place + n_new, event.item_id, event.title, event.timestamp, int(event.liked))
        n_new += connection.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", row).rowcount
    return n_new


def _is_known(connection: sqlite3.Connection, user: str, event: ProfileEvent) -> bool:
    """Whether an event is there with a timestamp in milli- or microseconds, as earlier versions kept them."""
    if event.timestamp is None or event.timestamp < _FIRST_CLEAR_SECOND:
        return False
    query = (
        "SELECT 1 FROM events WHERE user = ? AND item = ? AND (timestamp BETWEEN ? AND ? OR timestamp BETWEEN ? AND ?)"
    )
    bounds = [event.timestamp * factor + margin for factor in (1e3, 1e6) for margin in (-0.5, 0.5)]
    return connection.execute(query, [user, event.item_id, *bounds]).fetchone() is not None


def write_summary(
    connection: sqlite3.Connection,
    user: str,
    version: int,
    parts: Sequence[HistorySummary],
    summary: HistorySummary,
    *,
    done: int,
    n_summarised: int,
) -> bool:
    """Write a summary if the row still has this version; return whether it was written.

    Args:
        connection: inside a transaction.
        user: whose summary it is.
        version: of the row that the summary was made from.
        parts: what the summary is made of.
        summary: of all parts.
        done: the place of the first event after those that are summarised.
        n_summarised: events that are new in the summary.
    """
    query = (
        "UPDATE profiles SET text = ?, kind = ?, parts = ?, done = ?, n_summarised = n_summarised + ?, "
        "version = version + 1, updated = ? WHERE user = ? AND version = ?"
    )
    kind = summary.kind if summary.text else ""
    values = (summary.text, kind, parts_to_json(parts), done, n_summarised, _now(), user, version)
    return connection.execute(query, values).rowcount == 1


def delete_users(connection: sqlite3.Connection, user: str | None) -> int:
    """Delete a user, or all of them for None; return how many events that were."""
    condition = "" if user is None else " WHERE user = ?"
    parameters = [] if user is None else [user]
    n_events = connection.execute(f"DELETE FROM events{condition}", parameters).rowcount
    connection.execute(f"DELETE FROM profiles{condition}", parameters)
    return n_events


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
