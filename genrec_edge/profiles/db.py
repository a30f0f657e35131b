"""The file of profiles: a SQLite database that only its user may read.

* `profiles`: one row per user. `text` is the summary and `kind` who wrote it; `parts` is what it is made of, as JSON;
  events from the place `done` on are in no summary; `version` changes with every change of the row.
* `events`: what a user has met, place 0 first, in the order in which it was told. `liked` is 0 where it only counts as
  seen. An item is there once for each timestamp, and once without.

What is deleted or replaced is overwritten with zeros (`secure_delete`). The other half is `profile_store.py`.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from genrec_edge.errors import DatasetError
from genrec_edge.profiles.summaries import HistorySummary
from genrec_edge.profiles.tastes import dumped, loaded
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.sqlite import sqlite_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

APPLICATION_ID = 0x47525046
"""Stands in the header: "GRPF"."""
FORMAT_VERSION = 1

_SCHEMA = {
    "profiles": "CREATE TABLE profiles(user TEXT PRIMARY KEY, catalog TEXT NOT NULL, text TEXT NOT NULL, "
    "kind TEXT NOT NULL, parts TEXT NOT NULL, done INTEGER NOT NULL, n_summarised INTEGER NOT NULL, "
    "version INTEGER NOT NULL, updated TEXT NOT NULL) WITHOUT ROWID",
    "events": "CREATE TABLE events(user TEXT NOT NULL, place INTEGER NOT NULL, item TEXT NOT NULL, "
    "title TEXT NOT NULL, timestamp REAL, liked INTEGER NOT NULL, PRIMARY KEY (user, place)) WITHOUT ROWID",
    "events_once": "CREATE UNIQUE INDEX events_once ON events(user, item, ifnull(timestamp, ''))",
}
_BUSY_TIMEOUT_S = 10.0
_MAX_CELL_BYTES = 8 << 20
_ANEW = "move the file away; `genrec-edge profile update` makes another one"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a file of profiles, closed at the end of the block.

    Raises:
        UsageError: there is none, or it cannot be opened.
        DatasetError: it is something else, is damaged, or was written by a newer version.
        LockedError: another process has been writing for 10 s.
        DiskFullError: no room.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with (
        sqlite_errors(path, damaged),
        closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection,
    ):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_CELL_BYTES)
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")  # VACUUM writes a copy
        connection.execute("PRAGMA trusted_schema = OFF")
        if not _schema_of(connection):
            _create(connection)
        _check(path, connection)
        yield connection


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection inside one transaction: committed when the block ends well, rolled back otherwise.

    The file is made where there is none, readable by its owner alone. Raises as `opened`.
    """
    with path_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def as_json(parts: Sequence[HistorySummary]) -> str:
    """Return what a summary is made of as it stands in the file."""
    documents = [{"text": part.text, "kind": part.kind, "tastes": json.loads(dumped(part.tastes))} for part in parts]
    return json.dumps(documents, ensure_ascii=False)


def parts_of(text: str) -> tuple[HistorySummary, ...]:
    """Return what `as_json` made a text of.

    Raises:
        ValueError: it is something else.
    """
    try:
        parts = [
            HistorySummary(str(d["text"]), str(d["kind"]), loaded(json.dumps(d["tastes"]))) for d in json.loads(text)
        ]
    except (TypeError, KeyError, RecursionError) as e:
        raise ValueError(f"no summary: {type(e).__name__}") from e
    for tastes in (part.tastes for part in parts):
        is_whole = tastes.total > 0 or not tastes.weights
        if not is_whole or not all(0 <= number < math.inf for number in (*tastes.weights.values(), tastes.total)):
            raise ValueError("a weight that is none")
    return tuple(parts)


def damaged(path: Path, what: str) -> DatasetError:
    """Return the error about a file that is not as it should be."""
    return DatasetError(f"{path} is damaged, or holds no profiles: {what}", hint=_ANEW)


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file, unless another process was faster."""
    connection.execute("BEGIN IMMEDIATE")
    if not _schema_of(connection):
        for statement in _SCHEMA.values():
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.execute("COMMIT")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    (owner,), (version,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if owner != APPLICATION_ID:
        raise damaged(path, "it is a SQLite database of another program")
    if version != FORMAT_VERSION:
        message = f"{path} has format {version} of profiles; this program knows {FORMAT_VERSION}"
        raise DatasetError(message, hint="install a newer genrec-edge")
    if _schema_of(connection) != _SCHEMA:  # a view could compute without end
        raise damaged(path, "its tables are not those of profiles")


def _schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
