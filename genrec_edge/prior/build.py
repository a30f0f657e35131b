"""Counting a prior into its file, and adding new events to one; each is done whole or not at all.

The reading half is `prior_file.py`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.datasets.events import find_columns, group_by_user, read_events
from genrec_edge.errors import UsageError, several
from genrec_edge.prior.cooccurrence import SparseRows, count_transitions, event_counts
from genrec_edge.prior.db import PRIOR, ItemPrior, PriorCard, read_card
from genrec_edge.prior.ease import EaseInverse
from genrec_edge.prior.model import DEFAULT, WINDOW, Coefficients, PriorCounts
from genrec_edge.storage.files import atomic_write, path_errors
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.events import Events
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.splits import Split, Ties

_MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class PriorUpdate:
    """What an update did."""

    events: int
    users: int
    new_users: int


@dataclass(frozen=True, slots=True)
class _Tail:
    """The last items of a user, oldest first, at most `WINDOW`; the time of the last; and how many there are in all."""

    items: tuple[int, ...]
    timestamp: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class _NewEvents:
    """Events of a user, oldest first: item indexes, seconds, and the place of the first of them in the history."""

    user_id: str
    items: NDArray[np.int32]
    times: NDArray[np.float64]
    start: int


def build(
    path: Path,
    dataset: Dataset,
    histories: Sequence[NDArray[np.int32]],
    ties: Ties,
    *,
    split: Split | None = None,
    coefficients: Coefficients = DEFAULT,
    force: bool = False,
) -> ItemPrior:
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
    refuse_existing(path, force=force)
    about = {"split": "all", "filters": list(dataset.filters)} if split is None else split.card()
    card = PriorCard(dataset.name, about, ties, coefficients)
    prior = ItemPrior(card, dataset.item_ids, dataset.titles, PriorCounts.of(histories, dataset.n_items))
    kept: list[_NewEvents] = []
    if split is None:
        times = group_by_user(dataset.timestamps, dataset.users, dataset.items, dataset.n_users, ties)[1]
        kept = [_NewEvents(*new, 0) for new in zip(dataset.user_ids, histories, times, strict=True)]
    with (
        path_errors(path),
        atomic_write(path) as part,
        PRIOR.errors(path),
        PRIOR.creating(Path(part.name)) as connection,
    ):
        _fill(connection, prior, kept)
    return prior


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise UsageError if a file is in the way."""
    if path.exists() and not (force and path.is_file()):
        raise UsageError(f"{path} exists already", hint="replace it with --force, or choose another name")


def _fill(connection: sqlite3.Connection, prior: ItemPrior, kept: Sequence[_NewEvents]) -> None:
    """Write everything into an empty file that nobody else sees yet."""
    connection.execute("BEGIN")
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
    _put_closeness(connection, prior.counts.closeness)
    _append(connection, kept)
    connection.execute("COMMIT")


def update(path: Path, interactions_path: Path) -> PriorUpdate:
    """Add new events to a prior of all events: the same as counting all of them anew.

    Args:
        path: the prior.
        interactions_path: columns user, item (by id) and timestamp, as `data import` reads them.

    Raises:
        UsageError: the events cannot be read, are older than what was counted of their users, or have items that were
            not there; or the prior is that of a split.
        DatasetError: the prior is damaged.
        LockedError: another process has been writing to it for 10 s.
        DiskFullError: no room.
    """
    source = open_source(interactions_path)
    columns = find_columns(source, {})
    with PRIOR.writing(path) as connection:
        card = read_card(path, connection)
        if card.split["split"] != "all":
            message = f"{path} counts the training part of a split alone ({card.split['split']})"
            raise UsageError(message, hint="build a prior to add to with --split all")
        index = {str(i): n for n, (i,) in enumerate(connection.execute("SELECT id FROM items ORDER BY item"))}
        events = read_events(source, columns, index)
        query = "SELECT 1 FROM histories WHERE typeof(item) != 'integer' OR item NOT BETWEEN 0 AND ? LIMIT 1"
        if connection.execute(query, [len(index) - 1]).fetchone():
            raise PRIOR.damaged(path, "an item of a user's history is none")
        tails = _tails(connection, events.user_ids)
        new = _new_histories(path, events, tails, card.ties)
        known = [tails[user].items if user in tails else () for user in events.user_ids]
        joint = [np.array([*old, *user.items], np.int32) for old, user in zip(known, new, strict=True)]
        counted = event_counts([user.items for user in new], len(index))
        grown = [(n, item) for item, n in enumerate(counted.tolist()) if n]
        connection.executemany("UPDATE items SET n = n + ? WHERE item = ?", grown)
        _add_transitions(connection, count_transitions(joint, len(index), WINDOW, [len(old) for old in known]))
        _append(connection, new)
        _put_closeness(connection, EaseInverse.of(_histories(connection), len(index)))
    return PriorUpdate(len(events.users), len(new), len(new) - len(tails))


def _new_histories(path: Path, events: Events, tails: Mapping[str, _Tail], ties: str) -> list[_NewEvents]:
    """Return the new events of each user; refuse what belongs before events that were counted."""
    histories, times = group_by_user(events.timestamps, events.users, events.items, len(events.user_ids), ties)
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
    starts = [tails[user].n if user in tails else 0 for user in events.user_ids]
    return [_NewEvents(*new) for new in zip(events.user_ids, histories, times, starts, strict=True)]


def _hashed(user_id: str) -> str:
    """Return how a user is known in the file; an id may be a name or an address."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()


def _tails(connection: sqlite3.Connection, user_ids: Sequence[str]) -> dict[str, _Tail]:
    """Return the tails of those of the users that have one."""
    found = {}
    for user_id in user_ids:
        query = "SELECT item, timestamp, place FROM histories WHERE user = ? ORDER BY place DESC LIMIT ?"
        if rows := connection.execute(query, [_hashed(user_id), WINDOW]).fetchall():
            found[user_id] = _Tail(tuple(item for item, _, _ in reversed(rows)), float(rows[0][1]), rows[0][2] + 1)
    return found


def _append(connection: sqlite3.Connection, new: Sequence[_NewEvents]) -> None:
    """Add events to the end of their users' histories."""
    rows = (
        (_hashed(user.user_id), place, item, time)
        for user in new
        for place, (item, time) in enumerate(zip(user.items.tolist(), user.times.tolist(), strict=True), user.start)
    )
    connection.executemany("INSERT INTO histories VALUES (?, ?, ?, ?)", rows)


def _histories(connection: sqlite3.Connection) -> list[NDArray[np.int32]]:
    """Return the items of all users."""
    rows = connection.execute("SELECT user, item FROM histories ORDER BY user, place")
    return [np.array([item for _, item in group], np.int32) for _, group in groupby(rows, itemgetter(0))]


def _put_closeness(connection: sqlite3.Connection, closeness: EaseInverse) -> None:
    connection.execute("DELETE FROM closeness")
    rows = zip(closeness.items.tolist(), (row.astype("<f4").tobytes() for row in closeness.inverse), strict=True)
    connection.executemany("INSERT INTO closeness VALUES (?, ?)", rows)


def _add_transitions(connection: sqlite3.Connection, matrix: SparseRows) -> None:
    entries = zip(matrix.rows.tolist(), matrix.columns.tolist(), matrix.values.tolist(), strict=True)
    connection.executemany(
        "INSERT INTO transitions VALUES (?, ?, ?) "
        "ON CONFLICT (source, target) DO UPDATE SET weight = weight + excluded.weight",
        entries,
    )
