"""Adds new events to a prior of all events, whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.datasets.event_columns import open_events
from genrec_edge.datasets.event_reader import read_events
from genrec_edge.datasets.events import EventOptions, counted, group_by_user
from genrec_edge.errors import UsageError, several
from genrec_edge.gguf.training_keys import filters_text
from genrec_edge.prior.build import UserEvents, add_transitions, append_events, user_hash, write_ease
from genrec_edge.prior.content import has_its_histories, write_hashes
from genrec_edge.prior.cooccurrence import count_transitions, event_counts
from genrec_edge.prior.db import PRIOR, checked_transitions, read_card
from genrec_edge.prior.ease import EaseInverse
from genrec_edge.prior.model import WINDOW
from genrec_edge.storage.spooled import as_file
from genrec_edge.storage.times import to_seconds, unit_by_size

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.datasets.events import Events
    from genrec_edge.prior.cooccurrence import SparseRows
    from genrec_edge.records import TimeUnit

_MAX_SHOWN = 3
_DEFAULT_OPTIONS = EventOptions()


@dataclass(frozen=True, slots=True)
class PriorUpdate:
    """How many events an update added, of how many users, how many of those are new, and what was left out."""

    events: int
    users: int
    new_users: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _StoredHistory:
    """The latest `WINDOW` items of a user, oldest first, the timestamp of the last one, and the number of all items."""

    items: tuple[int, ...]
    timestamp: float
    n_items: int


def update(
    path: Path,
    interactions_path: Path,
    columns: Mapping[str, str | None] | None = None,
    options: EventOptions = _DEFAULT_OPTIONS,
) -> PriorUpdate:
    """Add new events to a prior of all events; the result equals a new count of all of them.

    Args:
        path: the prior.
        interactions_path: columns user, item (by id) and timestamp, as `data import` reads them.
        columns: names of "user", "item" and "timestamp", where they are not usual ones.
        options: how the events are read; `repeats` is within the file.

    Raises:
        UsageError: the events cannot be read, are older than stored events of their users, or have unknown items; or
            the prior is of a split.
        DatasetError: the prior is damaged.
        LockedError: another process has been writing to it for 10 s.
        DiskFullError: no room.
    """
    options.check()
    with as_file(interactions_path) as file:
        return _update(path, file, columns or {}, options)


def _update(path: Path, interactions: Path, columns: Mapping[str, str | None], options: EventOptions) -> PriorUpdate:
    source, columns_at = open_events(interactions, columns)
    at = replace(columns_at, rating=None)  # a prior counts events, whatever their rating
    with PRIOR.writing(path) as connection:
        card = read_card(path, connection)
        if card.split["split"] != "all":
            message = f"{path} counts only the training part of a split ({card.split['split']})"
            raise UsageError(message, hint="build a prior of all events with `genrec-edge prior build --split all`")
        index = {str(i): n for n, (i,) in enumerate(connection.execute("SELECT id FROM items ORDER BY item"))}
        events = _as_stored(connection, read_events(source, at, index, options))
        query = "SELECT 1 FROM histories WHERE typeof(item) != 'integer' OR item NOT BETWEEN 0 AND ? LIMIT 1"
        if connection.execute(query, [len(index) - 1]).fetchone():
            raise PRIOR.damaged(path, "an item of a user's history does not exist")
        checked_transitions(path, connection)
        if not has_its_histories(connection):
            raise PRIOR.damaged(path, "its histories are not what was written")
        stored = _stored_histories(connection, events.user_ids, options.time_unit)
        new = _new_events(path, events, stored, card.ties)
        n_known = _count_known(connection, new, stored)
        counts = event_counts([user.items for user in new], len(index))
        increments = [(n, item) for item, n in enumerate(counts.tolist()) if n]
        connection.executemany("UPDATE items SET n = n + ? WHERE item = ?", increments)
        add_transitions(connection, _new_transitions(new, stored, len(index)))
        append_events(connection, new)
        write_ease(connection, EaseInverse.of(_all_histories(connection), len(index)))
        write_hashes(connection)
    notes = [f"{counted(n_known)} had been counted before, with the same time"] if n_known else []
    if filters := card.split.get("filters"):
        notes.append(f"this prior was counted from events {filters_text(filters)}; all new ones are counted")
    return PriorUpdate(len(events.users), len(new), len(new) - len(stored), (*events.notes, *notes))


def _count_known(
    connection: sqlite3.Connection, new: Sequence[UserEvents], stored: Mapping[str, _StoredHistory]
) -> int:
    """Return how many new events have item and time of a stored one of their user, as in a file that is added twice."""
    n_known = 0
    for user in new:
        history = stored.get(user.user_id)
        if history is None or user.times[0] > history.timestamp:
            continue
        query = "SELECT item FROM histories WHERE user = ? AND place >= ? AND timestamp = ?"
        parameters = (user_hash(user.user_id), history.n_items - WINDOW, float(user.times[0]))
        known = {item for (item,) in connection.execute(query, parameters)}
        same_time = user.items[user.times == user.times[0]]
        n_known += sum(item in known for item in same_time.tolist())
    return n_known


def _new_transitions(new: Sequence[UserEvents], stored: Mapping[str, _StoredHistory], n_items: int) -> SparseRows:
    """Return the transitions that end in new events."""
    before = [stored[user.user_id].items if user.user_id in stored else () for user in new]
    histories = [np.array([*old, *user.items], np.int32) for old, user in zip(before, new, strict=True)]
    return count_transitions(histories, n_items, WINDOW, [len(old) for old in before])


def _new_events(path: Path, events: Events, stored: Mapping[str, _StoredHistory], ties: str) -> list[UserEvents]:
    """Return the new events of each user.

    Raises:
        UsageError: an event belongs before stored ones.
    """
    histories, times = group_by_user(events.timestamps, events.users, events.items, len(events.user_ids), ties)
    late = []
    for user, items, when in zip(events.user_ids, histories, times, strict=True):
        history = stored.get(user)
        if history is None:
            continue
        same_time_before = ties == "item" and when[0] == history.timestamp and items[0] < history.items[-1]
        if when[0] < history.timestamp or same_time_before:
            late.append(f"user {user!r:.60} at {when[0]:g}, before {history.timestamp:g}")
    if late:
        message = f"{path} has later events of {len(late):,} of the users: {several(late, most=_MAX_SHOWN)}"
        raise UsageError(message, hint="add only later events, or build the prior anew")
    starts = [stored[user].n_items if user in stored else 0 for user in events.user_ids]
    return [UserEvents(*of_user) for of_user in zip(events.user_ids, histories, times, starts, strict=True)]


def _as_stored(connection: sqlite3.Connection, events: Events) -> Events:
    """Return events with the user ids that the prior has: earlier versions counted "1.0" as it was written."""

    def is_known(user_id: str) -> bool:
        query = "SELECT 1 FROM histories WHERE user = ? LIMIT 1"
        return connection.execute(query, [user_hash(user_id)]).fetchone() is not None

    def stored_id(user_id: str) -> str:
        other = f"{user_id}.0"
        return other if user_id.isdecimal() and not is_known(user_id) and is_known(other) else user_id

    return replace(events, user_ids=tuple(map(stored_id, events.user_ids)))


def _stored_histories(
    connection: sqlite3.Connection, user_ids: Sequence[str], unit: TimeUnit
) -> dict[str, _StoredHistory]:
    """Return the latest stored items of the users that have any."""
    stored = {}
    for user_id in user_ids:
        query = "SELECT item, timestamp, place FROM histories WHERE user = ? ORDER BY place DESC LIMIT ?"
        rows = connection.execute(query, [user_hash(user_id), WINDOW]).fetchall()
        if rows:
            items = tuple(item for item, _, _ in reversed(rows))
            _, timestamp, last_place = rows[0]
            stored[user_id] = _StoredHistory(items, _in_seconds(float(timestamp), unit), last_place + 1)
    return stored


def _in_seconds(timestamp: float, unit: TimeUnit) -> float:
    """Return a stored timestamp in seconds: earlier versions kept milliseconds as they were."""
    if unit != "auto":
        return timestamp
    return float(to_seconds(np.array([timestamp]), unit_by_size(timestamp))[0][0])


def _all_histories(connection: sqlite3.Connection) -> list[NDArray[np.int32]]:
    """Return the items of all users."""
    rows = connection.execute("SELECT user, item FROM histories ORDER BY user, place")
    return [np.array([item for _, item in group], np.int32) for _, group in groupby(rows, itemgetter(0))]
