"""The file of profiles: a SQLite database that only its user may read.

* `profiles`: one row per user. `text` is the summary and `kind` who wrote it; `parts` is what it is made of, as JSON;
  events from the place `done` on are in no summary; `version` changes with every change of the row.
* `events`: the events of a user in the order in which they were added, from place 0 on. `liked` is 0 for an event that
  only counts as seen. An item is there once for each timestamp, and once without.

What is deleted or replaced is overwritten with zeros (`secure_delete`), and a file that others may read is made private
again. `rows.py` reads and writes the rows.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from genrec_edge.errors import DatasetError
from genrec_edge.profiles.summaries import HistorySummary
from genrec_edge.profiles.tastes import Tastes
from genrec_edge.storage.files import path_errors
from genrec_edge.storage.kept_descriptors import close_gone, descriptor, make_empty, read_at
from genrec_edge.storage.sqlite import SqliteFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

_MAX_CELL_BYTES = 8 << 20
_HEADER_BYTES = 100
_SIDE_FILES = ("-journal", "-wal", "-shm")
"""What SQLite, in this program or another, puts beside a file, and a killed process leaves."""


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
    repair_hint="move the file away, or remove it with `genrec-edge profile forget --all`",
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
            make_empty(path, 0o600)
        with descriptor(path):  # it has to be a file: SQLite would wait for ever at a pipe
            pass
        PROFILES.create_tables(path)
    with PROFILES.writing(path) as connection:
        _keep_private(path)
        yield connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that only reads. Raises as `SqliteFormat.opened`."""
    with PROFILES.opened(path, "ro") as connection:
        _keep_private(path)
        yield connection


def wipe(path: Path) -> None:
    """Have SQLite write the file anew without what was deleted, and leave nothing beside it.

    Raises:
        LockedError: another process has it open in a way that keeps what was deleted beside it.
        GenRecError: as `SqliteFormat.opened`.
    """
    with PROFILES.opened(path, "rw") as connection:
        # `secure_delete` overwrites a deleted row, but not the places from which it had been moved before.
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = DELETE")  # another program may have set one that keeps old pages


def remove_side_files(path: Path) -> None:
    """Remove what SQLite left beside a file that is gone."""
    with path_errors(path):
        for ending in _SIDE_FILES:
            with suppress(FileNotFoundError, NotADirectoryError):
                path.with_name(f"{path.name}{ending}").unlink()


def remove_profiles(path: Path, *, why: str) -> bool:
    """Remove a file of profiles as a whole; return False where it is no such file, or of a newer version."""
    with path_errors(path):
        with descriptor(path) as number:
            header = read_at(number, _HEADER_BYTES, 0)
        application_id, version = (int.from_bytes(header[start : start + 4], "big") for start in (68, 60))
        if application_id != PROFILES.application_id or version > PROFILES.version:
            return False
        path.unlink()
    close_gone()
    remove_side_files(path)
    log.warning("the file of profiles was removed as a whole: %s", why)
    return True


def _keep_private(path: Path) -> None:
    """Take the rights of others away."""
    with suppress(OSError):  # it is not ours to change, or on a disk that is not written
        if os.name != "nt" and path.stat().st_mode & 0o077:
            path.chmod(0o600)
            log.warning("others could read the profiles in %s; now only you can", path)


def parts_to_json(parts: Sequence[HistorySummary]) -> str:
    """Return the parts of a summary as the column `parts` has them."""
    documents = [{"text": part.text, "kind": part.kind, "tastes": part.tastes.to_document()} for part in parts]
    return json.dumps(documents, ensure_ascii=False)


def parts_from_json(text: str) -> tuple[HistorySummary, ...]:
    """Return the parts that `parts_to_json` wrote.

    Raises:
        ValueError: the text is not what it writes.
    """
    try:
        parts = [
            HistorySummary(str(document["text"]), str(document["kind"]), Tastes.from_document(document["tastes"]))
            for document in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise ValueError(f"its parts are not a list of summaries ({type(e).__name__})") from e
    for part in parts:
        _check_weights(part.tastes)
    return tuple(parts)


def _check_weights(tastes: Tastes) -> None:
    is_finite = all(0 <= number < math.inf for number in (*tastes.weights.values(), tastes.total))
    if not is_finite or (tastes.weights and tastes.total == 0):
        raise ValueError("its weights are not finite numbers from 0 on with a total above 0")
