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
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from genrec_edge.errors import DatasetError
from genrec_edge.profiles.summaries import HistorySummary
from genrec_edge.profiles.tastes import dumped, loaded
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.sqlite import SqliteFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_MAX_CELL_BYTES = 8 << 20


def m001_initial(connection: sqlite3.Connection) -> None:
    """Create the empty tables."""
    connection.execute(
        "CREATE TABLE profiles(user TEXT PRIMARY KEY, catalog TEXT NOT NULL, text TEXT NOT NULL, "
        "kind TEXT NOT NULL, parts TEXT NOT NULL, done INTEGER NOT NULL, n_summarised INTEGER NOT NULL, "
        "version INTEGER NOT NULL, updated TEXT NOT NULL) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE events(user TEXT NOT NULL, place INTEGER NOT NULL, item TEXT NOT NULL, "
        "title TEXT NOT NULL, timestamp REAL, liked INTEGER NOT NULL, PRIMARY KEY (user, place)) WITHOUT ROWID"
    )
    connection.execute("CREATE UNIQUE INDEX events_once ON events(user, item, ifnull(timestamp, ''))")


def _configure(connection: sqlite3.Connection) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_CELL_BYTES)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA temp_store = MEMORY")  # VACUUM writes a copy


PROFILES = SqliteFormat(
    name="file of profiles",
    application_id=0x47525046,  # "GRPF"
    migrations=(m001_initial,),
    invalid=DatasetError,
    make_hint="genrec-edge profile update makes one",
    import_hint="move the file away; `genrec-edge profile update` makes another one",
    repair_hint="move the file away; `genrec-edge profile update` makes another one",
    configure=_configure,
)


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection inside one transaction: committed when the block ends well, rolled back otherwise.

    The file is made where there is none, readable by its owner alone. Raises as `SqliteFormat.opened`.
    """
    with path_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        PROFILES.create_tables(path)
    with PROFILES.writing(path) as connection:
        yield connection


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
