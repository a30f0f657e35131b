"""A table or view of a foreign SQLite file, which is opened read-only and not trusted."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError
from genrec_edge.storage.sqlite import quoted
from genrec_edge.storage.table_source import TableSource, distinct_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"SQLite format 3\0"


class SqliteTable(TableSource):
    """The rows of one table or view."""

    def __init__(self, path: Path, table: str | None) -> None:
        super().__init__(path, "row")
        with self._connection() as connection:
            query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
            tables = [str(name) for (name,) in connection.execute(query)]
            self._table = choose_table(path, tables, table)
            cursor = connection.execute(f"SELECT * FROM {quoted(self._table)} LIMIT 0")
            self.columns = distinct_names([str(column[0]) for column in cursor.description])

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        """Yield (number of the row, values)."""
        with self._connection() as connection:
            n_rows = connection.execute(f"SELECT count(*) FROM {quoted(self._table)}").fetchone()[0]
            query = f"SELECT * FROM {quoted(self._table)}"
            for number, row in enumerate(connection.execute(query), 1):
                if not number & 1023:
                    self.share_read = number / n_rows
                yield number, list(row)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True)) as connection:
                connection.execute("PRAGMA trusted_schema = OFF")
                yield connection
        except sqlite3.Error as e:
            message = f"cannot read the SQLite file {self.path} ({e})"
            raise UsageError(message, hint="check the file with another program") from e


def choose_table(path: Path, tables: list[str], table: str | None) -> str:
    """Return the table to read: the one that is named, else the only one.

    Raises:
        UsageError: there is no such table, or none is named and there are several; the message lists them.
    """
    if table is None and len(tables) == 1:
        return tables[0]
    if table in tables:
        return str(table)
    what = f"has no table {table!r}" if table is not None else "has more than one table" if tables else "has no table"
    message = f"{path} {what}; it holds: {', '.join(tables) or 'none'}"
    raise UsageError(message, hint="choose one with `table`")
