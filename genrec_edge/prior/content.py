"""Whether a prior still holds what was written: hashes of its tables, which its table `meta` has.

SQLite notices a damaged page only where its structure breaks; a weight that is another number looks like any other.
Priors of version 0.1 have no hashes until they are updated.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from numpy.typing import NDArray

_COUNTS, _HISTORIES = "sha256", "sha256_histories"
"""Names in `meta`: of what is read to recommend, and of what only an update reads."""


def read_transitions(connection: sqlite3.Connection) -> NDArray[np.float64]:
    """Return the transitions, (n, 3): source, target, weight, in the order of the first two.

    Raises:
        ValueError: something in there is not a number.
    """
    query = "SELECT source, target, weight FROM transitions ORDER BY source, target"
    return np.array(connection.execute(query).fetchall(), np.float64).reshape(-1, 3)


def write_hashes(connection: sqlite3.Connection) -> None:
    """Write the hashes of all tables, after the last change and inside its transaction."""
    hashes = {
        _COUNTS: _counts_sha256(connection, read_transitions(connection)),
        _HISTORIES: _histories_sha256(connection),
    }
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", hashes.items())


def has_its_counts(connection: sqlite3.Connection, transitions: NDArray[np.float64]) -> bool:
    """Return whether items, transitions, closeness and the card are what was written, or no hash says so."""
    known = _known(connection, _COUNTS)
    return known is None or known == _counts_sha256(connection, transitions)


def has_its_histories(connection: sqlite3.Connection) -> bool:
    """Return whether the histories are what was written, or no hash says so."""
    known = _known(connection, _HISTORIES)
    return known is None or known == _histories_sha256(connection)


def _known(connection: sqlite3.Connection, name: str) -> object:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchone()
    return None if row is None else row[0]


def _counts_sha256(connection: sqlite3.Connection, transitions: NDArray[np.float64]) -> str:
    digest = hashlib.sha256(transitions.tobytes())
    for query in (
        "SELECT name, value FROM meta WHERE name NOT LIKE 'sha256%' ORDER BY name",
        "SELECT item, id, title, year, n FROM items ORDER BY item",
    ):
        digest.update(_rows_sha256(connection.execute(query)))
    for item, weights in connection.execute("SELECT item, weights FROM closeness ORDER BY item"):
        digest.update(f"{item} ".encode())
        digest.update(weights if isinstance(weights, bytes) else repr(weights).encode())
    return digest.hexdigest()


def _histories_sha256(connection: sqlite3.Connection) -> str:
    query = "SELECT user, place, item, timestamp FROM histories ORDER BY user, place"
    return _rows_sha256(connection.execute(query)).hex()


def _rows_sha256(rows: Iterable[tuple[object, ...]]) -> bytes:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode(errors="surrogatepass"))
    return digest.digest()
