"""The tables, indexes and triggers that a catalog may have; whatever else SQLite would run is refused.

A view could compute without end, a trigger could fill the disk when items are added, and a column could be computed.
Plain tables of other programs, and plain indexes, are left alone.
"""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_MAX_ENTRIES = 1_000
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]""")
_NOT_IN_ITEMS = re.compile(
    r"\b(as|check|collate|constraint|foreign|generated|references|without)\b|\bdefault\s*\(", re.IGNORECASE
)
_NOT_IN_INDEXES = re.compile(r"\b(where|collate)\b|\(.*\(", re.IGNORECASE | re.DOTALL)
_FULL_TEXT_PARTS = frozenset(f"items_fts_{part}" for part in ("data", "idx", "docsize", "config"))


def check_tables(
    connection: sqlite3.Connection,
    *,
    tables: Mapping[str, Sequence[str]],
    optional: Sequence[str],
    own_columns: Sequence[tuple[str, str, bool]],
    triggers: Callable[[sqlite3.Connection], Iterable[str]],
) -> None:
    """Check what a file has before anything of it is read.

    Args:
        connection: to the file.
        tables: the tables that it has to have, and the statements that may have made each; none for `items`.
        optional: those of them that may be missing.
        own_columns: name, type and whether it is the primary key, of the first columns of `items`.
        triggers: returns the statements of the triggers that it may have.

    Raises:
        sqlite3.DatabaseError: a table is missing or different, or there is a view or a trigger of others.
    """
    query = f"SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT {_MAX_ENTRIES + 1}"
    entries = connection.execute(query).fetchall()
    if len(entries) > _MAX_ENTRIES or not all(isinstance(part, str) for entry in entries for part in entry):
        raise sqlite3.DatabaseError("its list of tables cannot be read")
    sql_of = {(kind, name): sql for kind, name, sql in entries}
    for name, statements in tables.items():
        if ("table", name) in sql_of or name not in optional:
            _check_table(name, sql_of.get(("table", name)), statements)
    for name in _FULL_TEXT_PARTS:
        _check_table(name, sql_of.get(("table", name)), ())
    _check_items(connection, sql_of["table", "items"], own_columns)
    known_triggers = frozenset(map(_plain, triggers(connection)))
    for (kind, name), sql in sql_of.items():
        if kind == "view":
            raise sqlite3.DatabaseError(f"it has a view, {name!r:.80}")
        if kind == "trigger" and _plain(sql) not in known_triggers:
            raise sqlite3.DatabaseError(f"it has a trigger of another program, {name!r:.80}")
        if kind == "index" and _NOT_IN_INDEXES.search(_QUOTED.sub("x", sql)):
            raise sqlite3.DatabaseError(f"it has an index of an expression, {name!r:.80}")
        if _is_virtual(sql) and name != "items_fts":
            raise sqlite3.DatabaseError(f"it has a virtual table, {name!r:.80}")


def _check_table(name: str, sql: str | None, statements: Sequence[str]) -> None:
    """Check that a table is there, and was made by one of these statements; without any, that it is a plain table."""
    if sql is None:
        raise sqlite3.DatabaseError(f"it has no table {name}")
    if (_plain(sql) not in map(_plain, statements)) if statements else _is_virtual(sql):
        raise sqlite3.DatabaseError(f"its table {name} is another than a catalog has")


def _check_items(connection: sqlite3.Connection, sql: str, own_columns: Sequence[tuple[str, str, bool]]) -> None:
    """Check that the first columns of `items` are the catalog's own, and that none is computed or checked."""
    if _NOT_IN_ITEMS.search(_QUOTED.sub("x", sql)):
        raise sqlite3.DatabaseError("its table items has more than plain columns")
    columns = connection.execute("PRAGMA table_xinfo(items)").fetchall()
    n_own = len(own_columns)
    own = tuple((name, kind.upper(), bool(pk)) for _, name, kind, _, _, pk, _ in columns[:n_own])
    if own != tuple(own_columns) or any(pk or hidden for *_, pk, hidden in columns[n_own:]):
        raise sqlite3.DatabaseError("its table items has other columns than a catalog")


def _is_virtual(sql: str) -> bool:
    return _plain(sql).startswith("createvirtual")


def _plain(sql: str) -> str:
    """Return SQL without white space, quotes and upper case: how it is written differs between versions."""
    return re.sub(r"""[\s"'`\[\]]+""", "", sql).lower()
