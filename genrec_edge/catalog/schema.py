"""What a catalog file looks like inside, and how one is recognised.

Plain tables that any SQLite browser can read:

* `items`: one row per item. `key` is `titles.key(title)`; every column of the imported file keeps its own
name, and a
  column with many values per item holds them joined by ", ".
* `item_values`: those values one by one, (item, field, value).
* `items_fts`: full-text index of the titles, kept by triggers.
* `meta`: name, source, licence, created, lists (names of the list columns, JSON), and `revision`, which
triggers change
  whenever a row of `items` does, whichever program did it.
* `changes`: by the same triggers, which row it was and the revision it led to; the newest 50,000. A revision that is
  found here is one that this very file has had, and the rows after it are all that came, went or changed since. (Not
  those that a REPLACE took away silently: whoever follows the changes counts the items at the end.) Catalogs made by
  older versions get the table when items are added or removed.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from genrec_edge.errors import CatalogError, UsageError
from genrec_edge.storage.sqlite import quoted
from genrec_edge.storage.sqlite import sqlite_errors as errors_of_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

APPLICATION_ID = 0x47524543
"""Stands in the header of every catalog: "GREC"."""

FORMAT_VERSION = 1
OWN_COLUMNS = ("row", "id", "title", "year", "key")
RESERVED = frozenset({*OWN_COLUMNS, "rowid", "oid", "_rowid_"})
"""Names that no imported column may take, in lower case; the last three are SQLite's."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_BUSY_TIMEOUT_S = 5.0
_REBUILD = "make it anew with `genrec-edge catalog build`"

_TABLES = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
CREATE TABLE items(
  "row" INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL,
  year INTEGER,
  "key" TEXT NOT NULL%s
);
CREATE TABLE item_values(
  item INTEGER NOT NULL REFERENCES items("row"),
  field TEXT NOT NULL,
  value TEXT NOT NULL COLLATE NOCASE,
  PRIMARY KEY (item, field, value)
) WITHOUT ROWID;
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_MOST_CHANGES = 50_000
"""Following one costs six times the tokenising of a title; a million titles are indexed anew in the time of 100,000."""
_CHANGES = """CREATE TABLE changes(number INTEGER PRIMARY KEY, revision TEXT NOT NULL, "row" INTEGER)"""

_INDEXES = """
CREATE INDEX items_key ON items("key");
CREATE INDEX item_values_value ON item_values(field, value, item);
CREATE TRIGGER items_values_delete AFTER DELETE ON items BEGIN
  DELETE FROM item_values WHERE item = old."row";
END;
"""

_REVISION_TRIGGER = f"""
CREATE TRIGGER items_revision_{{event}} AFTER {{event}} ON items BEGIN
  UPDATE meta SET value = lower(hex(randomblob(8))) WHERE name = 'revision';
  INSERT INTO changes(revision, "row") SELECT value, changed FROM meta, ({{rows}}) WHERE name = 'revision';
  DELETE FROM changes WHERE number <= (SELECT max(number) FROM changes) - {_MOST_CHANGES};
END
"""
_CHANGED_ROWS = {
    "INSERT": 'SELECT new."row" AS changed',
    "UPDATE": 'SELECT old."row" AS changed UNION SELECT new."row"',
    "DELETE": 'SELECT old."row" AS changed',
}


def create_tables(connection: sqlite3.Connection, columns: Sequence[tuple[str, str]]) -> None:
    """Create the empty tables; `columns` are the (name, SQL type) of those that are not the catalog's own."""
    declared = "".join(f",\n  {quoted(name)} {kind}" for name, kind in columns)
    connection.executescript(_TABLES % declared)


def create_indexes(connection: sqlite3.Connection) -> None:
    """Create indexes, full text and triggers: after the bulk of the rows, which is faster."""
    from sqlite_utils import Database  # noqa: PLC0415 - slow to import, and only building needs it

    connection.executescript(_INDEXES)
    items = Database(connection, execute_plugins=False).table("items")
    items.enable_fts(["title"], create_triggers=True, tokenize="unicode61 remove_diacritics 2")
    track_changes(connection)


def track_changes(connection: sqlite3.Connection) -> None:
    """Have a catalog write down its changes from now on, if it does not yet; the transaction stays open."""
    if has_changes(connection):
        return
    connection.execute(_CHANGES)
    connection.execute("INSERT INTO changes(revision) VALUES (?)", [fact(connection, "revision")])
    for event, rows in _CHANGED_ROWS.items():
        connection.execute(f"DROP TRIGGER IF EXISTS items_revision_{event}")
        connection.execute(_REVISION_TRIGGER.format(event=event, rows=rows))


def has_changes(connection: sqlite3.Connection) -> bool:
    """Whether a catalog writes down its changes."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone() is not None


def column_names(connection: sqlite3.Connection) -> list[str]:
    """Return the columns that came with the imported file, in its order."""
    names = [str(row[1]) for row in connection.execute("PRAGMA table_info(items)")]
    return [name for name in names if name not in OWN_COLUMNS]


def list_names(connection: sqlite3.Connection) -> list[str]:
    """Return those of the columns that hold many values."""
    try:
        return [str(name) for name in json.loads(fact(connection, "lists"))]
    except (TypeError, ValueError) as e:
        raise sqlite3.DatabaseError("its list columns cannot be read") from e


def fact(connection: sqlite3.Connection, name: str) -> str:
    """Return a value of `meta`."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchone()
    if row is None:
        message = f"no {name} in it"
        raise sqlite3.DatabaseError(message)
    return str(row[0])


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a read-only connection to a catalog; errors as from `connect`. Closed at the end of the block."""
    with sqlite_errors(path), closing(connect(path)) as connection:
        yield connection


def connect(path: Path) -> sqlite3.Connection:
    """Open a catalog read-only, for use from any thread (one at a time).

    Raises:
        UsageError: no such file.
        CatalogError: not a catalog, damaged, or written by a newer version.
        LockedError: another process is writing for longer than the 5 s waited.
    """
    check_header(path)
    with sqlite_errors(path):
        if path.with_name(path.name + "-journal").exists():
            # A writer was killed: only a connection that may write can roll its half-done work back.
            with closing(_connect(path, "rw")) as connection:
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        return _connect(path, "ro")


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection inside one transaction: committed when the block ends well, rolled back otherwise.

    Raises: as `connect`, and DiskFullError.
    """
    check_header(path)
    with sqlite_errors(path), closing(_connect(path, "rw")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


@contextmanager
def creating(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to an empty file nobody else sees yet: fast, and worthless if the block fails."""
    with sqlite_errors(path), closing(_connect(path, "rw")) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def check_header(path: Path) -> None:
    """Say what is wrong with a file that cannot be a catalog, from its first hundred bytes. Read-only.

    Raises:
        UsageError: no such file.
        CatalogError: not SQLite, another program's database, a newer format, or cut off.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        n_bytes = path.stat().st_size
    except FileNotFoundError as e:
        message = f"no such catalog: {path}"
        raise UsageError(message, hint=f"genrec-edge catalog build FILE -o {path} makes one") from e
    except OSError as e:
        message = f"cannot read the catalog {path} ({e.strerror})"
        raise UsageError(message) from e
    if not header.startswith(_MAGIC) or len(header) < _HEADER_BYTES:
        message = f"{path} is not a catalog"
        raise CatalogError(
            message,
            hint=f"genrec-edge catalog build {path} -o catalog.db makes one of a data file",
        )
    page_bytes = int.from_bytes(header[16:18], "big")
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    if n_bytes < int.from_bytes(header[28:32], "big") * page_bytes:
        message = f"the catalog {path} is cut off: {n_bytes:,} bytes are left of it"
        raise CatalogError(message, hint=_REBUILD)
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        message = f"{path} is a SQLite database of another program"
        raise CatalogError(
            message,
            hint=f"import one of its tables: genrec-edge catalog build {path} --table NAME -o catalog.db",
        )
    version = int.from_bytes(header[60:64], "big")
    if version > FORMAT_VERSION:
        message = f"{path} has catalog format {version}; this program knows {FORMAT_VERSION}"
        raise CatalogError(
            message,
            hint="install a newer genrec-edge",
        )


def sqlite_errors(path: Path) -> AbstractContextManager[None]:
    """Turn what SQLite raises in the block into one of our errors about a catalog."""
    return errors_of_sqlite(path, _damaged, unusable=CatalogError)


def _damaged(path: Path, what: str) -> CatalogError:
    return CatalogError(f"the catalog {path} is damaged or not as expected ({what})", hint=_REBUILD)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    if mode == "ro":  # writing needs it: SQLite calls a trigger that writes to full text unsafe
        connection.execute("PRAGMA trusted_schema = OFF")
    return connection
