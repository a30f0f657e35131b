"""What a catalog file looks like inside, and how one is recognised.

Plain tables that any SQLite browser can read:

* `items`: one row per item. `key` is `titles.key(title)`; every column of the imported file keeps its own name, and a
  column with many values per item holds them joined by ", ".
* `item_values`: those values one by one, (item, field, value).
* `items_fts`: full-text index of the titles, kept up to date by triggers.
* `meta`: name, source, licence, created, lists (names of the list columns, JSON), and `revision`, which triggers change
  whenever a row of `items` changes, whichever program does it.
* `changes`: written by the same triggers: each changed row and the revision after the change; the newest 50,000. A
  revision that is found here is one that this file has had, and the rows after it are all that were added, removed or
  changed since. (Rows that a REPLACE removed are missing; so the number of items has to be compared, too.) Catalogs
  made by older versions get the table when items are added or removed.

Triggers also let `item_values` follow a list column that another program writes, split at ", ". Catalogs of older
versions get them when items are added or removed, or when they are opened and `item_values` did not follow.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from genrec_edge.catalog.known_tables import check_tables
from genrec_edge.catalog.list_triggers import follow_lists, list_triggers
from genrec_edge.errors import CatalogError
from genrec_edge.storage.sqlite import SqliteFormat, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OWN_COLUMN_TYPES = (
    ("row", "INTEGER", True),
    ("id", "TEXT", False),
    ("title", "TEXT", False),
    ("year", "INTEGER", False),
    ("key", "TEXT", False),
)
"""Name, type, and whether it is the primary key."""
OWN_COLUMNS = tuple(name for name, *_ in OWN_COLUMN_TYPES)
RESERVED_COLUMNS = frozenset({*OWN_COLUMNS, "rowid", "oid", "_rowid_"})
"""Names that no imported column may take, in lower case; the last three are SQLite's."""

_TABLES = (
    """CREATE TABLE items(
  "row" INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL,
  year INTEGER,
  "key" TEXT NOT NULL%s
)""",
    """CREATE TABLE item_values(
  item INTEGER NOT NULL REFERENCES items("row"),
  field TEXT NOT NULL,
  value TEXT NOT NULL COLLATE NOCASE,
  PRIMARY KEY (item, field, value)
) WITHOUT ROWID""",
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)

_MAX_CHANGES = 50_000
"""Following a change costs six times the tokenising of a title. So more changes than this, in a catalog of a million
titles, take longer than a new title index."""
_CHANGES = """CREATE TABLE changes(number INTEGER PRIMARY KEY, revision TEXT NOT NULL, "row" INTEGER)"""

_INDEXES = """
CREATE INDEX items_key ON items("key");
CREATE INDEX item_values_value ON item_values(field, value, item);
CREATE TRIGGER items_values_delete AFTER DELETE ON items BEGIN
  DELETE FROM item_values WHERE item = old."row";
END;
"""

_FULL_TEXT = """CREATE VIRTUAL TABLE items_fts USING FTS5(
  title, tokenize='unicode61 remove_diacritics 2', content=items)"""
_FULL_TEXT_TRIGGERS = (
    """CREATE TRIGGER items_ai AFTER INSERT ON items BEGIN
  INSERT INTO items_fts (rowid, title) VALUES (new.rowid, new.title); END""",
    """CREATE TRIGGER items_ad AFTER DELETE ON items BEGIN
  INSERT INTO items_fts (items_fts, rowid, title) VALUES('delete', old.rowid, old.title); END""",
    """CREATE TRIGGER items_au AFTER UPDATE ON items BEGIN
  INSERT INTO items_fts (items_fts, rowid, title) VALUES('delete', old.rowid, old.title);
  INSERT INTO items_fts (rowid, title) VALUES (new.rowid, new.title); END""",
)
"""What sqlite-utils makes, but for quotes and white space."""

_OLD_REVISION_TRIGGER = """CREATE TRIGGER items_revision_{event} AFTER {event} ON items BEGIN
  UPDATE meta SET value = lower(hex(randomblob(8))) WHERE name = 'revision'; END"""
"""Of catalogs without the table `changes`."""
_REVISION_TRIGGER = f"""
CREATE TRIGGER items_revision_{{event}} AFTER {{event}} ON items BEGIN
  UPDATE meta SET value = lower(hex(randomblob(8))) WHERE name = 'revision';
  INSERT INTO changes(revision, "row") SELECT value, changed FROM meta, ({{rows}}) WHERE name = 'revision';
  DELETE FROM changes WHERE number <= (SELECT max(number) FROM changes) - {_MAX_CHANGES};
END
"""
_CHANGED_ROWS = {
    "INSERT": 'SELECT new."row" AS changed',
    "UPDATE": 'SELECT old."row" AS changed UNION SELECT new."row"',
    "DELETE": 'SELECT old."row" AS changed',
}


def m001_initial(connection: sqlite3.Connection, columns: Sequence[tuple[str, str]] = ()) -> None:
    """Create the empty tables, without indexes and triggers.

    `columns` are the (name, SQL type) of those that are not the catalog's own.
    """
    declared = "".join(f",\n  {quoted(name)} {kind}" for name, kind in columns)
    items, item_values, meta = _TABLES
    for statement in (items % declared, item_values, meta):
        connection.execute(statement)


@contextmanager
def creating(path: Path, columns: Sequence[tuple[str, str]]) -> Iterator[sqlite3.Connection]:
    """Yield a connection to an empty file that becomes a catalog with these columns; see `SqliteFormat.creating`."""
    with CATALOG.creating(path, partial(m001_initial, columns=columns)) as connection:
        yield connection


def create_indexes(connection: sqlite3.Connection) -> None:
    """Create indexes, full text and triggers: after the bulk of the rows, which is faster."""
    from sqlite_utils import Database  # noqa: PLC0415 - slow to import, and only building needs it

    connection.executescript(_INDEXES)
    items = Database(connection, execute_plugins=False).table("items")
    items.enable_fts(["title"], create_triggers=True, tokenize="unicode61 remove_diacritics 2")
    track_changes(connection)
    follow_lists(connection, list_names(connection))


def known_triggers(connection: sqlite3.Connection) -> list[str]:
    """Return the statements of all triggers that this catalog may have."""
    values_delete = _INDEXES[_INDEXES.index("CREATE TRIGGER") :].strip().removesuffix(";")
    revisions = [_REVISION_TRIGGER.format(event=event, rows=rows) for event, rows in _CHANGED_ROWS.items()]
    old_revisions = [_OLD_REVISION_TRIGGER.format(event=event) for event in _CHANGED_ROWS]
    of_lists = list_triggers(list_names(connection)).values()
    return [values_delete, *_FULL_TEXT_TRIGGERS, *revisions, *old_revisions, *of_lists]


def track_changes(connection: sqlite3.Connection) -> None:
    """Add the table `changes` and its triggers to a catalog that does not have them; the transaction stays open.

    Not a migration: catalogs with and without the table are of format 1, which earlier versions open, too.
    """
    if has_changes(connection):
        return
    connection.execute(_CHANGES)
    connection.execute("INSERT INTO changes(revision) VALUES (?)", [meta_value(connection, "revision")])
    for event, rows in _CHANGED_ROWS.items():
        connection.execute(f"DROP TRIGGER IF EXISTS items_revision_{event}")
        connection.execute(_REVISION_TRIGGER.format(event=event, rows=rows))


def has_changes(connection: sqlite3.Connection) -> bool:
    """Whether a catalog has the table `changes`."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone() is not None


def changed_rows(connection: sqlite3.Connection, revision: str) -> list[int] | None:
    """Return the rows that were added, removed or changed after a revision, ascending; None if that is unknown."""
    if not has_changes(connection):
        return None
    (number,) = connection.execute("SELECT max(number) FROM changes WHERE revision = ?", [revision]).fetchone()
    if number is None:
        return None
    query = 'SELECT DISTINCT "row" FROM changes WHERE number > ? ORDER BY "row"'
    return [row for (row,) in connection.execute(query, [number])]


def changed_items(connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
    """Return (row, title, key) of the items that were added or changed since the catalog was made."""
    if not has_changes(connection):
        return []
    query = 'SELECT "row", title, "key" FROM items WHERE "row" IN (SELECT "row" FROM changes)'
    return connection.execute(query).fetchall()


def column_names(connection: sqlite3.Connection) -> list[str]:
    """Return the columns of the imported file, in its order."""
    names = [str(row[1]) for row in connection.execute("PRAGMA table_info(items)")]
    return [name for name in names if name not in OWN_COLUMNS]


def column_kinds(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what each column of `items` holds: "INTEGER", "REAL" or "TEXT"; "" where SQLite keeps any type as it is.

    These are SQLite's own rules for the names of types, as other programs may have added columns.
    """
    kinds = {}
    for _, name, declared, *_ in connection.execute("PRAGMA table_info(items)"):
        kind = str(declared).upper()
        if "INT" in kind:
            kinds[str(name)] = "INTEGER"
        elif any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
            kinds[str(name)] = "TEXT"
        else:
            kinds[str(name)] = "REAL" if any(word in kind for word in ("REAL", "FLOA", "DOUB")) else ""
    return kinds


def list_names(connection: sqlite3.Connection) -> list[str]:
    """Return those of the columns that hold many values.

    Raises:
        sqlite3.DatabaseError: `meta` names no columns.
    """
    names, columns = _parsed(meta_value(connection, "lists")), column_names(connection)
    if not isinstance(names, list) or not all(name in columns for name in names) or len(set(names)) < len(names):
        raise sqlite3.DatabaseError("its list columns are not columns of it")
    return names


def separators(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what separated the values of list columns in the file that the catalog was built of; empty if unknown.

    Raises:
        sqlite3.DatabaseError: `meta` has something else there.
    """
    row = connection.execute("SELECT value FROM meta WHERE name = 'separators'").fetchone()
    known = {} if row is None else _parsed(row[0])
    if not isinstance(known, dict) or not all(isinstance(text, str) and text for text in known.values()):
        raise sqlite3.DatabaseError("the separators of its list columns cannot be read")
    return known


def _parsed(text: str) -> object:
    """Return what JSON of `meta` stands for."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as e:
        raise sqlite3.DatabaseError("its table meta cannot be read") from e


def meta_value(connection: sqlite3.Connection, name: str) -> str:
    """Return a value of `meta`.

    Raises:
        sqlite3.DatabaseError: `meta` does not have it; `SqliteFormat.errors` makes this an error about the file.
    """
    row = connection.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"its table meta has no {name}")
    return str(row[0])


_KNOWN_TABLES = {
    "items": (),
    "item_values": (_TABLES[1],),
    "meta": (_TABLES[2],),
    "items_fts": (_FULL_TEXT,),
    "changes": (_CHANGES,),
}
"""The tables of a catalog, and the statements that may have made each; none for `items`, whose columns differ."""

CATALOG = SqliteFormat(
    name="catalog",
    application_id=0x47524543,  # "GREC"
    migrations=(m001_initial,),
    invalid=CatalogError,
    unusable=CatalogError,
    make_hint="genrec-edge catalog build FILE -o {path} makes one",
    import_hint="genrec-edge catalog build {path} -o catalog.db imports it; --table NAME names a table of a database",
    repair_hint="make it again with `genrec-edge catalog build`, or the shipped films with `genrec-edge catalog reset`",
    has_fixed_tables=False,  # every catalog has the columns of the file it was made from
    check=partial(
        check_tables,
        tables=_KNOWN_TABLES,
        optional=("changes",),
        own_columns=OWN_COLUMN_TYPES,
        triggers=known_triggers,
    ),
    has_digest=True,
)
