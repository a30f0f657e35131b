"""A prior on disk: a SQLite file of plain tables, read here, written by `build.py` and `update.py`.

* `items`: the items that were counted, by their index, with id, title, year and number of events `n`.
* `transitions`: (source, target, weight), T of `cooccurrence.py`.
* `closeness`: (item, weights), the rows of P of `ease.py` for the items that have one: float32, little-endian.
* `histories`: (user, place, item, timestamp), place 0 the oldest: new events are appended to these. Users are stored as
  a hash of their id. Empty for the training part of a split, which cannot be updated: its held-out events are missing.
* `meta`: the name of the data, the split as JSON, the rule for ties, the coefficients, and hashes (`content.py`).

Titles are stored so that a prior counted on one catalog can be used with another. `model.py` defines the numbers.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from genrec_edge.errors import DatasetError
from genrec_edge.prior.content import has_its_counts, read_transitions
from genrec_edge.prior.cooccurrence import SparseRows
from genrec_edge.prior.ease import EaseInverse
from genrec_edge.prior.model import DECAYS, Coefficients, PriorCounts
from genrec_edge.prior.trend import WINDOW_S, TimedEvents
from genrec_edge.storage.sqlite import SqliteFormat

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from numpy.typing import NDArray

_MAX_COUNT = 2**53
"""The largest count that a float64 represents exactly."""
_MAX_LOG = 100.0
"""Limit of the absolute value of a coefficient."""


def m001_initial(connection: sqlite3.Connection) -> None:
    """Create the empty tables."""
    connection.execute("CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
    connection.execute(
        "CREATE TABLE items(item INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, year INTEGER, "
        "n INTEGER NOT NULL)"
    )
    connection.execute(
        "CREATE TABLE transitions(source INTEGER NOT NULL, target INTEGER NOT NULL, weight REAL NOT NULL, "
        "PRIMARY KEY (source, target)) WITHOUT ROWID"
    )
    connection.execute("CREATE TABLE closeness(item INTEGER PRIMARY KEY, weights BLOB NOT NULL)")
    connection.execute(
        "CREATE TABLE histories(user TEXT NOT NULL, place INTEGER NOT NULL, item INTEGER NOT NULL, "
        "timestamp REAL NOT NULL, PRIMARY KEY (user, place)) WITHOUT ROWID"
    )


PRIOR = SqliteFormat(
    name="prior",
    application_id=0x47525052,  # "GRPR"
    migrations=(m001_initial,),
    invalid=DatasetError,
    make_hint="make one of a data set with `genrec-edge prior build`",
    import_hint="make a prior of a data set with `genrec-edge prior build`",
    repair_hint="make it again with `genrec-edge prior build`",
)


@dataclass(frozen=True, slots=True)
class PriorCard:
    """The description of a prior.

    Attributes:
        data: name of the data set that was counted.
        split: the card of the split whose training part was counted; {"split": "all"} for everything.
        ties: the rule for equal timestamps, "file" or "item".
        coefficients: of the sequence prior.
    """

    data: str
    split: Mapping[str, Any]
    ties: str
    coefficients: Coefficients


@dataclass(frozen=True, slots=True, eq=False)
class ItemPrior:
    """A prior in memory.

    Attributes:
        card: its description.
        item_ids: of all items.
        titles: (title, year) of all items.
        counts: of all items.
        recent: (n_items,) events with each item in the four weeks up to the last one; None where the file holds the
            training part of a split, which has no times.
    """

    card: PriorCard
    item_ids: tuple[str, ...]
    titles: tuple[tuple[str, int | None], ...]
    counts: PriorCounts
    recent: NDArray[np.int64] | None = None

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read a prior. Read-only.

        Raises:
            UsageError: no such file.
            DatasetError: it is not a prior, is damaged, or has another format.
            LockedError: another process has been writing to it for 10 s.
        """
        path = Path(path)
        with PRIOR.opened(path, "ro") as connection:
            card = read_card(path, connection)
            _check_numbers(path, connection)
            items = connection.execute("SELECT id, title, year, n FROM items ORDER BY item").fetchall()
            ease = _read_ease(path, connection, len(items))
            table = checked_transitions(path, connection)
            recent = _read_recent(connection, len(items))
        cells = table[:, :2].astype(np.int64)
        return cls(
            card=card,
            item_ids=tuple(item_id for item_id, _, _, _ in items),
            titles=tuple((title, year) for _, title, year, _ in items),
            counts=PriorCounts(
                np.array([n for _, _, _, n in items], np.int64),
                SparseRows(cells[:, 0], cells[:, 1], table[:, 2], (len(items), len(items))),
                ease,
            ),
            recent=recent,
        )


def _read_recent(connection: sqlite3.Connection, n_items: int) -> NDArray[np.int64] | None:
    """Return `ItemPrior.recent` of an open prior."""
    (last,) = connection.execute("SELECT max(timestamp) FROM histories").fetchone()
    if last is None:
        return None
    query = "SELECT item, timestamp FROM histories WHERE timestamp >= ?"
    events = np.array(connection.execute(query, (last - WINDOW_S,)).fetchall(), np.float64)
    return TimedEvents.of(events[:, 1], events[:, 0].astype(np.int64), n_items).recent()


def checked_transitions(path: Path, connection: sqlite3.Connection) -> NDArray[np.float64]:
    """Return the transitions of an open prior, (n, 3): source, target, weight.

    Raises:
        DatasetError: a table is not what was written.
    """
    try:
        table = read_transitions(connection)
    except (ValueError, TypeError) as e:
        raise PRIOR.damaged(path, f"its table `transitions` holds no numbers ({e})") from e
    if not has_its_counts(connection, table):
        raise PRIOR.damaged(path, "it does not hold what was written")
    return table


def _check_numbers(path: Path, connection: sqlite3.Connection) -> None:
    """Raise DatasetError unless every cell has the type and range of its column: SQLite itself does not check."""
    (n_items,) = connection.execute("SELECT count(*) FROM items").fetchone()
    queries = {
        "no items": "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM items)",
        "items that are not numbered from 0 on": f"SELECT 1 FROM items WHERE item NOT BETWEEN 0 AND {n_items - 1}",
        "an id or title that is not text": "SELECT 1 FROM items WHERE typeof(id) != 'text' OR typeof(title) != 'text'",
        "a year that is not a number": "SELECT 1 FROM items WHERE typeof(year) NOT IN ('integer', 'null')",
        "a number of events that is out of range": "SELECT 1 FROM items WHERE typeof(n) != 'integer' "
        f"OR n NOT BETWEEN 0 AND {_MAX_COUNT}",
        "a transition between items that do not exist": "SELECT 1 FROM transitions WHERE typeof(source) != 'integer' "
        f"OR typeof(target) != 'integer' OR min(source, target) < 0 OR max(source, target) >= {n_items}",
        "a weight that is out of range": "SELECT 1 FROM transitions WHERE typeof(weight) != 'real' "
        f"OR weight NOT BETWEEN 0 AND {_MAX_COUNT}",
    }
    found = [what for what, query in queries.items() if connection.execute(f"{query} LIMIT 1").fetchone()]
    if found:
        raise PRIOR.damaged(path, f"it has {', '.join(found)}")


def _read_ease(path: Path, connection: sqlite3.Connection, n_items: int) -> EaseInverse:
    rows = connection.execute("SELECT item, weights FROM closeness ORDER BY item").fetchall()
    items = np.array([item for item, _ in rows], np.int64)
    is_whole = all(isinstance(weights, bytes) and len(weights) == 4 * len(rows) for _, weights in rows)
    if not is_whole or (len(items) and not 0 <= items[0] <= items[-1] < n_items):
        raise PRIOR.damaged(path, "its table `closeness` is not a square matrix over its items")
    inverse = np.frombuffer(b"".join(weights for _, weights in rows), "<f4").reshape(len(rows), len(rows))
    if not (np.isfinite(inverse).all() and (np.diag(inverse) > 0).all()):
        raise PRIOR.damaged(
            path, "its table `closeness` has a value that is not a number, or a diagonal that is not positive"
        )
    return EaseInverse(n_items, items, inverse.astype(np.float32))


def read_card(path: Path, connection: sqlite3.Connection) -> PriorCard:
    """Return the description of an open prior.

    Raises:
        DatasetError: a value is missing or invalid.
    """
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    try:
        split, numbers = json.loads(meta["split"]), json.loads(meta["coefficients"])
        weights, log_floors = (tuple(map(float, numbers[key])) for key in ("weights", "log_floors"))
        data, ties = str(meta["data"]), str(meta["ties"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as e:
        raise PRIOR.damaged(path, f"its table `meta` cannot be read ({type(e).__name__}: {e})") from e
    n = 2 + len(DECAYS)
    if not len(weights) == len(log_floors) == n or not all(math.fabs(v) < _MAX_LOG for v in (*weights, *log_floors)):
        raise PRIOR.damaged(path, f"its coefficients are not twice {n} numbers below {_MAX_LOG:g}")
    if not isinstance(split, dict) or not isinstance(split.get("split"), str) or ties not in {"file", "item"}:
        raise PRIOR.damaged(path, "its split or its rule for equal timestamps is invalid")
    return PriorCard(data, split, ties, Coefficients(weights, log_floors))
