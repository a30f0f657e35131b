"""Counting a prior into its file, and adding new events to one; each is done whole or not at all.

The reading half is `prior_file.py`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError, several
from genrec_edge.events import find_columns, read_events
from genrec_edge.files import atomic_write, path_errors
from genrec_edge.importing import open_source
from genrec_edge.prior_file import (
    APPLICATION_ID,
    FORMAT_VERSION,
    TABLES,
    Prior,
    PriorCard,
    damaged,
    opened,
    read_card,
    sqlite_errors,
)
from genrec_edge.priors import DEFAULT, WINDOW, Coefficients, Counts
from genrec_edge.transitions import SparseRows, count_transitions, event_counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.dataset import Dataset
    from genrec_edge.events import Events
    from genrec_edge.interactions import Split, Ties

_MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Added:
    """What an update did."""

    events: int
    users: int
    new_users: int


@dataclass(frozen=True, slots=True)
class _Tail:
    """The last items of a user, oldest first, at most `WINDOW`, and when the last was met, in seconds."""

    items: tuple[int, ...]
    timestamp: float


def build(
    path: Path,
    dataset: Dataset,
    histories: Sequence[NDArray[np.int32]],
    ties: Ties,
    *,
    split: Split | None = None,
    coefficients: Coefficients = DEFAULT,
    force: bool = False,
) -> Prior:
    """Count histories, write them to `path` and return what was written.

    Args:
        path: the file to make.
        dataset: whose items and users are counted.
        histories: item indexes of each of its users, oldest first: `split.train`, or all events.
        ties: the rule for equal timestamps.
        split: what the histories are the training part of; None for all events, to which more can be added later.
        coefficients: of the sequence prior.
        force: replace an existing file.

    Raises:
        UsageError: the file is there and not to be replaced, or cannot be written.
        DiskFullError: no room.
    """
    check_free(path, force=force)
    about = {"split": "all", "filters": list(dataset.filters)} if split is None else split.card()
    card = PriorCard(dataset.name, about, ties, coefficients)
    prior = Prior(card, dataset.item_ids, dataset.titles, Counts.of(histories, dataset.n_items))
    tails: dict[str, _Tail] = {}
    if split is None:
        last = np.full(dataset.n_users, -np.inf)
        np.maximum.at(last, dataset.users, dataset.timestamps)
        tails = {
            user_id: _Tail(tuple(items[-WINDOW:].tolist()), float(last[user]))
            for user, (user_id, items) in enumerate(zip(dataset.user_ids, histories, strict=True))
            if len(items)
        }
    with (
        path_errors(path),
        atomic_write(path) as part,
        sqlite_errors(path),
        closing(sqlite3.connect(part.name, isolation_level=None)) as connection,
    ):
        _fill(connection, prior, tails)
    return prior


def check_free(path: Path, *, force: bool) -> None:
    """Raise UsageError if a file is in the way."""
    if path.exists() and not (force and path.is_file()):
        raise UsageError(f"{path} exists already", hint="replace it with --force, or choose another name")


def _fill(connection: sqlite3.Connection, prior: Prior, tails: Mapping[str, _Tail]) -> None:
    """Write everything into an empty file that nobody else sees yet."""
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.execute("BEGIN")
    for statement in TABLES.values():
        connection.execute(statement)
    card = prior.card
    meta = {
        "data": card.data,
        "split": json.dumps(dict(card.split)),
        "ties": card.ties,
        "coefficients": json.dumps(asdict(card.coefficients)),
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    rows = zip(prior.item_ids, prior.titles, prior.counts.events.tolist(), strict=True)
    items = ((i, item_id, *titled, n) for i, (item_id, titled, n) in enumerate(rows))
    connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", items)
    _add_transitions(connection, prior.counts.transitions)
    _put_tails(connection, tails)
    connection.execute("COMMIT")


def update(path: Path, interactions_path: Path) -> Added:
    """Add new events to a prior of all events: the same as counting all of them anew.

    Args:
        path: the prior.
        interactions_path: columns user, item (by id) and timestamp, as `data import` reads them.

    Raises:
        UsageError: the events cannot be read, are older than what was counted of their users, or have items that were
            not there; or the prior is that of a split.
        DatasetError: the prior is damaged.
        LockedError: another process has been writing to it for 5 s.
        DiskFullError: no room.
    """
    source = open_source(interactions_path)
    columns = find_columns(source, {})
    with opened(path, "rw") as connection:
        connection.execute("BEGIN IMMEDIATE")
        card = read_card(path, connection)
        if card.split["split"] != "all":
            message = f"{path} counts the training part of a split alone ({card.split['split']})"
            raise UsageError(message, hint="build a prior to add to with --split all")
        index = {str(i): n for n, (i,) in enumerate(connection.execute("SELECT id FROM items ORDER BY item"))}
        events = read_events(source, columns, index)
        tails = _tails(connection, events.user_ids)
        if not all(type(i) is int and 0 <= i < len(index) for tail in tails.values() for i in tail.items):
            raise damaged(path, "the last item of a user is none")
        histories = _new_histories(path, events, tails, card.ties)
        known = [tails[user].items if user in tails else () for user in events.user_ids]
        joint = [np.array([*old, *new], np.int32) for old, new in zip(known, histories, strict=True)]
        new = [(n, item) for item, n in enumerate(event_counts(histories, len(index)).tolist()) if n]
        connection.executemany("UPDATE items SET n = n + ? WHERE item = ?", new)
        _add_transitions(connection, count_transitions(joint, len(index), WINDOW, [len(old) for old in known]))
        last = np.full(len(joint), -np.inf)
        np.maximum.at(last, events.users, events.timestamps)
        ends = [_Tail(tuple(items[-WINDOW:].tolist()), float(t)) for items, t in zip(joint, last, strict=True)]
        _put_tails(connection, dict(zip(events.user_ids, ends, strict=True)))
        connection.execute("COMMIT")
    return Added(len(events.users), len(histories), len(histories) - len(tails))


def _new_histories(path: Path, events: Events, tails: Mapping[str, _Tail], ties: str) -> list[NDArray[np.int32]]:
    """Return the new items of each user, oldest first; refuse what belongs before events that were counted."""
    by_time = (events.timestamps, events.users)
    order = np.lexsort(by_time if ties == "file" else (events.items, *by_time))
    ends = np.cumsum(np.bincount(events.users, minlength=len(events.user_ids)))
    histories, times = np.split(events.items[order], ends[:-1]), np.split(events.timestamps[order], ends[:-1])
    late = []
    for user, items, when in zip(events.user_ids, histories, times, strict=True):
        if (tail := tails.get(user)) is None:
            continue
        same_time_before = ties == "item" and when[0] == tail.timestamp and items[0] < tail.items[-1]
        if when[0] < tail.timestamp or same_time_before:
            late.append(f"user {user!r:.60} at {when[0]:g}, before {tail.timestamp:g}")
    if late:
        found = several(late, most=_MAX_SHOWN)
        message = f"{path} has counted later events of {len(late):,} of the users already: {found}"
        raise UsageError(message, hint="add only what came after, or build the prior anew")
    return histories


def _hashed(user_id: str) -> str:
    """Return how a user is known in the file; an id may be a name or an address."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()


def _tails(connection: sqlite3.Connection, user_ids: Sequence[str]) -> dict[str, _Tail]:
    """Return the tails of those of the users that have one."""
    found = {}
    for user_id in user_ids:
        query = "SELECT item, timestamp FROM tails WHERE user = ? AND place < ? ORDER BY place DESC"
        if rows := connection.execute(query, [_hashed(user_id), WINDOW]).fetchall():
            found[user_id] = _Tail(tuple(item for item, _ in rows), float(rows[-1][1]))
    return found


def _put_tails(connection: sqlite3.Connection, tails: Mapping[str, _Tail]) -> None:
    """Put tails in the place of those that the users had."""
    connection.executemany("DELETE FROM tails WHERE user = ?", ((_hashed(user_id),) for user_id in tails))
    rows = (
        (_hashed(user_id), place, item, tail.timestamp)
        for user_id, tail in tails.items()
        for place, item in enumerate(reversed(tail.items))
    )
    connection.executemany("INSERT INTO tails VALUES (?, ?, ?, ?)", rows)


def _add_transitions(connection: sqlite3.Connection, matrix: SparseRows) -> None:
    entries = zip(matrix.rows.tolist(), matrix.columns.tolist(), matrix.values.tolist(), strict=True)
    connection.executemany(
        "INSERT INTO transitions VALUES (?, ?, ?) "
        "ON CONFLICT (source, target) DO UPDATE SET weight = weight + excluded.weight",
        entries,
    )
