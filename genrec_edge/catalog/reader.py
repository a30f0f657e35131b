"""The items one can recommend: a SQLite file, opened read-only.

Knows items, titles and filters; nothing of models and tokens. `building.py` is the writing half, and its
functions are offered here too; `schema.py` says what is in the file.
"""

from __future__ import annotations

import re
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from genrec_edge.catalog import schema, titles
from genrec_edge.catalog import where as where_module
from genrec_edge.coordinates import CatalogRow, CatalogRows
from genrec_edge.errors import CatalogError
from genrec_edge.records import Item
from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from genrec_edge.catalog.where_cache import RowSetCache
    from genrec_edge.records import Value

_CHUNK = 500
"""Parameters per query; the oldest SQLite allows 999."""
_WORD = re.compile(r"\w+")
_MAX_WORDS = 32


class Catalog:
    """A catalog, read-only.

    Safe to share between threads: a lock of its own lets one query run at a time. Open it after a fork, not
    before.

    >>> with Catalog.open(default_catalog_path()) as films:  # doctest: +SKIP
    ...     films.search("toy story", limit=1)[0].title
    'Toy Story'
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._count: tuple[str, int] = ("", 0)
        self._filtered: RowSetCache | None = None
        with self._querying() as c:
            self.meta = {str(name): str(value) for name, value in c.execute("SELECT name, value FROM meta")}
            self.item_columns: tuple[str, ...] = tuple(schema.column_names(c))
            """The columns that came with the imported file: the keys of `Item.columns`."""
            self.list_columns: tuple[str, ...] = tuple(schema.list_names(c))
            """Those of them that hold many values."""

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a catalog file.

        Raises:
            UsageError: no such file.
            CatalogError: not a catalog, damaged, written by a newer version, or without items.
            LockedError: another process has been writing for 10 s.
        """
        path = Path(path)
        with ExitStack() as cleanup:
            connection = schema.CATALOG.connect(path, "ro")
            cleanup.callback(connection.close)
            catalog = cls(path, connection)
            if not catalog.n_items:
                message = f"the catalog {path} is empty"
                raise CatalogError(message, hint="put items in with `genrec-edge catalog add`")
            cleanup.pop_all()
        return catalog

    @property
    def name(self) -> str:
        """What the catalog is called."""
        return self.meta.get("name", self.path.stem)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a filter can use."""
        return ("id", "title", "year", *self.item_columns)

    @property
    def revision(self) -> str:
        """Hex digits that are others after any change of the items; read from the file each time."""
        with self._querying() as connection:
            return schema.fact(connection, "revision")

    @property
    def n_items(self) -> int:
        """The number of items."""
        with self._lock:
            revision = self.revision
            if self._count[0] != revision:
                self._count = (revision, self._rows("SELECT count(*) FROM items")[0][0])
            return self._count[1]

    def titles(self) -> Iterator[tuple[CatalogRow, str, int | None]]:
        """Yield (row, title, year) of every item in the order of rows, as they were when it began."""
        with schema.reading(self.path) as connection:
            yield from connection.execute('SELECT "row", title, year FROM items ORDER BY "row"')

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have all that this thread asks in the block be of one moment; others wait, and no writer can commit."""
        with self._querying() as connection:
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def titles_of(self, rows: CatalogRows) -> list[tuple[CatalogRow, str, int | None]]:
        """Return (row, title, year) of the items that have one of these rows, in the order of rows."""
        found: list[tuple[CatalogRow, str, int | None]] = []
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK].tolist()
            marks = ", ".join("?" * len(chunk))
            found += self._rows(f'SELECT "row", title, year FROM items WHERE "row" IN ({marks})', chunk)
        return sorted(found)

    def changed_since(self, revision: str) -> CatalogRows | None:
        """Return the rows that came, went or changed after a revision, ascending; None if that is not known any more.

        A row that a REPLACE took away may be missing: there are fewer items then than the others account for.
        """
        import numpy as np  # noqa: PLC0415 - a third of the import time of the catalog

        with self._querying() as connection:
            if not schema.has_changes(connection):
                return None
            (number,) = self._rows("SELECT max(number) FROM changes WHERE revision = ?", [revision])[0]
            if number is None:
                return None
            changed = self._rows('SELECT DISTINCT "row" FROM changes WHERE number > ? ORDER BY "row"', [number])
        return CatalogRows(np.array([row for (row,) in changed], np.int64))

    def title_keys(self) -> Iterator[tuple[int, str, int | None]]:
        """Yield (row, key, year) of every item in the order of rows; see `titles.key`."""
        with schema.reading(self.path) as connection:
            yield from connection.execute('SELECT "row", "key", year FROM items ORDER BY "row"')

    def items(self, rows: Sequence[int]) -> list[Item]:
        """Return the items with these row numbers, in this order.

        Raises:
            KeyError: there is no such row.
        """
        found = {item.row: item for item in self._select('"row"', [int(row) for row in rows])}
        return [found[CatalogRow(int(row))] for row in rows]

    def by_ids(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return the items with these ids; ids that do not exist are left out."""
        # Text with lone surrogates is nothing SQLite can be asked for, and no id.
        encodable = [i for i in dict.fromkeys(ids) if i == i.encode(errors="replace").decode()]
        return {item.id: item for item in self._select("id", encodable)}

    def by_keys(self, keys: Iterable[str]) -> list[Item]:
        """Return the items whose title has one of these keys, in the order of rows."""
        return sorted(self._select('"key"', list(dict.fromkeys(keys))), key=lambda item: item.row)

    def filter(self, where: str) -> CatalogRows:
        """Return the rows that satisfy an SQL condition over `columns`, ascending; shape (n,), n may be 0.

        A comparison of a list column with one value asks whether the item has it: `genre = 'Comedy'`. The answer is
        remembered until the file changes.

        Raises:
            UsageError: not a condition, an unknown column, or more than 2 s of work.
        """
        from genrec_edge.catalog.where_cache import RowSetCache  # noqa: PLC0415 - numpy, a third of the import time of the catalog

        with self._querying() as connection:
            if self._filtered is None:
                self._filtered = RowSetCache()
            kept = self._filtered
            # Another number after any commit of another program: one to the values of lists alone is no revision.
            version = connection.execute("PRAGMA data_version").fetchone()
        if (rows := kept.get(version, where)) is None:
            with schema.reading(self.path) as connection:
                rows = where_module.matching_rows(connection, where, self.columns, self.list_columns)
            kept.put(version, where, rows)
        return CatalogRows(rows)

    def search(self, text: str, limit: int = 10, *, prefix: bool = True) -> list[Item]:
        """Return the items whose title has all words of `text`, best match first.

        Args:
            text: anything; what is not a word is ignored.
            limit: how many items at most.
            prefix: whether the last word may be the start of a longer one.
        """
        words = _WORD.findall(titles.clean(text))[:_MAX_WORDS]
        if not words:
            return []
        query = " ".join(f'"{word}"' for word in words) + ("*" if prefix else "")
        found = self._rows(
            "SELECT rowid FROM items_fts WHERE items_fts MATCH ? ORDER BY rank, rowid LIMIT ?", [query, limit]
        )
        return self.items([row for (row,) in found])

    def list_values(self, rows: Sequence[int], columns: Sequence[str]) -> dict[tuple[int, str], list[str]]:
        """Return the values of list columns by (row, column), in the order they were imported in where that is known.

        What is joined in the column itself tells the order; a value with a comma in it stands after the others.
        """
        found: dict[tuple[int, str], list[str]] = {}
        for start in range(0, len(rows), _CHUNK):
            chunk = [int(row) for row in rows[start : start + _CHUNK]]
            query = f"SELECT item, field, value FROM item_values WHERE item IN ({', '.join('?' * len(chunk))})"
            for row, column, value in self._rows(query, chunk):
                if column in columns:
                    found.setdefault((row, column), []).append(value)
        order: dict[int, Mapping[str, Value]] = {
            item.row: item.columns for item in self.items(sorted({row for row, _ in found}))
        }
        for (row, column), values in found.items():
            joined = str(order[row][column] or "")
            values.sort(key=lambda value, joined=joined: joined.find(value))  # type: ignore[misc]
        return found

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query of our own making; what users write goes through `filter`."""
        return self._rows(sql, parameters)

    def close(self) -> None:
        """Close the file; the catalog cannot be used any more. May be called twice."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _querying(self) -> Iterator[sqlite3.Connection]:
        with self._lock, schema.CATALOG.errors(self.path):
            yield self._connection

    def _rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._querying() as connection:
            return connection.execute(query, parameters).fetchall()

    def _select(self, column: str, values: Sequence[object]) -> Iterator[Item]:
        names = ", ".join(quoted(name) for name in ("row", "id", "title", "year", *self.item_columns))
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            query = f"SELECT {names} FROM items WHERE {column} IN ({', '.join('?' * len(chunk))})"
            for row, item_id, title, year, *rest in self._rows(query, chunk):
                columns = dict(zip(self.item_columns, rest, strict=True))
                yield Item(row, item_id, title, year, columns)
