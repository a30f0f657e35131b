"""Counts a prior and writes its file, whole or not at all. `db.py` reads it, `update.py` adds events to it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.datasets.events import group_by_user
from genrec_edge.datasets.folder import FILES
from genrec_edge.prior.content import write_hashes
from genrec_edge.prior.db import PRIOR, ItemPrior, PriorCard
from genrec_edge.prior.model import DEFAULT, Coefficients, PriorCounts
from genrec_edge.prior.trend import TimedEvents
from genrec_edge.storage.files import atomic_write, path_errors, refuse_existing, require_other_file

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split
    from genrec_edge.prior.cooccurrence import SparseRows
    from genrec_edge.prior.ease import EaseInverse
    from genrec_edge.records import Ties


@dataclass(frozen=True, slots=True, eq=False)
class UserEvents:
    """Events of a user, oldest first: item indexes, seconds, and the place of the first one in the user's history."""

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
    """Count histories, write the prior to `path` and return it.

    Args:
        path: the file to write.
        dataset: items and users.
        histories: item indexes of each of its users, oldest first: `split.train`, or all events.
        ties: the rule for equal timestamps.
        split: the split whose training part the histories are; None for all events, which allows later updates.
        coefficients: of the sequence prior.
        force: replace an existing file.

    Raises:
        UsageError: the file exists and `force` is not set, or it cannot be written.
        DiskFullError: no room.
    """
    refuse_existing(path, force=force)
    require_other_file(path, [dataset.path / name for name in FILES])
    about = {"split": "all", "filters": list(dataset.filters)} if split is None else split.card()
    card = PriorCard(dataset.name, about, ties, coefficients)
    counts = PriorCounts.of(histories, dataset.n_items)
    recent, events = None, list[UserEvents]()
    if split is None:
        recent = TimedEvents.of(dataset.timestamps, dataset.items, dataset.n_items).recent()
        times = group_by_user(dataset.timestamps, dataset.users, dataset.items, dataset.n_users, ties)[1]
        events = [UserEvents(*of_user, 0) for of_user in zip(dataset.user_ids, histories, times, strict=True)]
    prior = ItemPrior(card, dataset.item_ids, dataset.titles, counts, recent)
    with (
        path_errors(path),
        atomic_write(path) as part,
        PRIOR.errors(path),
        PRIOR.creating(Path(part.name)) as connection,
    ):
        _write(connection, prior, events)
    return prior


def _write(connection: sqlite3.Connection, prior: ItemPrior, events: Sequence[UserEvents]) -> None:
    """Fill the tables of a new file, which no other process has opened."""
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
    add_transitions(connection, prior.counts.transitions)
    write_ease(connection, prior.counts.ease)
    append_events(connection, events)
    write_hashes(connection)
    connection.execute("COMMIT")


def user_hash(user_id: str) -> str:
    """Return the hash of a user id, which may be a name or an address and is not stored itself."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()


def append_events(connection: sqlite3.Connection, events: Sequence[UserEvents]) -> None:
    """Append events to the stored histories of their users."""
    rows = (
        (user_hash(user.user_id), place, item, time)
        for user in events
        for place, (item, time) in enumerate(zip(user.items.tolist(), user.times.tolist(), strict=True), user.start)
    )
    connection.executemany("INSERT INTO histories VALUES (?, ?, ?, ?)", rows)


def write_ease(connection: sqlite3.Connection, ease: EaseInverse) -> None:
    """Replace the stored inverse of EASE."""
    connection.execute("DELETE FROM closeness")
    rows = zip(ease.items.tolist(), (row.astype("<f4").tobytes() for row in ease.inverse), strict=True)
    connection.executemany("INSERT INTO closeness VALUES (?, ?)", rows)


def add_transitions(connection: sqlite3.Connection, matrix: SparseRows) -> None:
    """Add transition counts to the stored ones."""
    entries = zip(matrix.rows.tolist(), matrix.columns.tolist(), matrix.values.tolist(), strict=True)
    connection.executemany(
        "INSERT INTO transitions VALUES (?, ?, ?) "
        "ON CONFLICT (source, target) DO UPDATE SET weight = weight + excluded.weight",
        entries,
    )
