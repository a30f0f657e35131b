"""Numbered steps that bring a SQLite file from any older format to the newest one.

A format's migrations are a tuple of functions `m001_initial`, `m002_...`. The first one makes the tables of an empty
file, and function n leads from version n - 1 to version n, which `PRAGMA user_version` records. A published migration
is never changed: the next change of the tables is a new function at the end of the tuple.

`sqlite_utils.migrations` does the same, but takes 0.4 s to import, records what it did in a table of its own, which
files of earlier versions do not have, and leaves `user_version` alone, by which earlier versions recognise a file that
is too new for them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache

Migration = Callable[[sqlite3.Connection], object]
"""Changes tables inside the transaction that is open; it must not call `executescript`, which would commit it."""


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the format of an open file, 0 for an empty one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection, migrations: tuple[Migration, ...], application_id: int) -> None:
    """Bring an open file to the newest version, each step in a transaction of its own.

    A step that fails, or is killed, leaves the file at the version before it. Does nothing to a file of the newest
    version. The connection is in autocommit mode, outside of a transaction.
    """
    while version_of(connection) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = version_of(connection)  # another process may have been faster
            if version < len(migrations):
                _apply(connection, migrations[version], version + 1, application_id)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _apply(connection: sqlite3.Connection, migration: Migration, version: int, application_id: int) -> None:
    migration(connection)
    if not connection.in_transaction:
        raise RuntimeError(f"migration {version} ended the transaction it runs in")
    connection.execute(f"PRAGMA application_id = {application_id}")
    connection.execute(f"PRAGMA user_version = {version}")


def tables_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the SQL of all tables, indexes, views and triggers of an open file, by name."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())


@cache
def expected_tables(migrations: tuple[Migration, ...]) -> dict[str, str]:
    """Return what `tables_of` returns for a file that these migrations made."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, migrations, 0)
        return tables_of(connection)
