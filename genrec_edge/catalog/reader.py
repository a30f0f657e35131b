"""The items that can be recommended: a SQLite file, opened read-only.

Knows items, titles and filters; nothing of models and tokens. `writer.py` makes catalogs, `edit.py` changes them, and
`schema.py` says what is in the file.
"""

from __future__ import annotations

import re
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from genrec_edge.catalog import schema, titles
from genrec_edge.catalog import where as where_module
from genrec_edge.catalog.check import check_file
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

_MAX_PARAMETERS = 500
"""Of a query; the oldest SQLite allows 999."""
_WORD = re.compile(r"\w+")
_MAX_WORDS = 32
"""Of a search."""


class Catalog:
    """A catalog, read-only.

    Safe to share between threads: it runs one query at a time. Open it after a fork, not before.

    >>> with Catalog.open(default_catalog_path()) as films:  # doctest: +SKIP
    ...     films.search("toy story", limit=1)[0].title
    'Toy Story'
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._item_count: tuple[str, int] = ("", 0)
        """A revision, and the number of items at it."""
        self._filter_results: RowSetCache | None = None
        self._retitled: tuple[str, dict[int, str]] = ("", {})
        """A revision, and the keys of the items at it whose own key is not that of their title."""
        self._is_closed = False
        self._file = _file_number(path)
        self._schema_version = -1
        self.meta: dict[str, str] = {}
        self.item_columns: tuple[str, ...] = ()
        """The columns of the imported file: the keys of `Item.columns`."""
        self.list_columns: tuple[str, ...] = ()
        """Those of them that hold many values."""
        with self._querying():
            pass  # reads them

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
            connection = _connect(path)
            cleanup.callback(connection.close)
            catalog = cls(path, connection)
            if not catalog.n_items:
                message = f"the catalog {path} is empty"
                raise CatalogError(message, hint="add items with `genrec-edge catalog add`")
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
        """Hex digits that change with any change of the items; read from the file each time."""
        with self._querying() as connection:
            return schema.meta_value(connection, "revision")

    @property
    def n_items(self) -> int:
        """The number of items."""
        with self._lock:
            revision = self.revision
            if self._item_count[0] != revision:
                self._item_count = (revision, self.query("SELECT count(*) FROM items")[0][0])
            return self._item_count[1]

    def titles(self) -> Iterator[tuple[CatalogRow, str, int | None]]:
        """Yield (row, title, year) of every item in the order of rows, as of the first call of `next`."""
        with schema.CATALOG.opened(self.path, "ro") as connection:
            yield from connection.execute('SELECT "row", title, year FROM items ORDER BY "row"')

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all queries of this thread in the block see one state of the file; other threads and writers wait."""
        with self._querying() as connection:
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def titles_of(self, rows: CatalogRows) -> list[tuple[CatalogRow, str, int | None]]:
        """Return (row, title, year) of the items that have one of these rows, in the order of rows."""
        found: list[tuple[CatalogRow, str, int | None]] = []
        for start in range(0, len(rows), _MAX_PARAMETERS):
            chunk = rows[start : start + _MAX_PARAMETERS].tolist()
            query = f'SELECT "row", title, year FROM items WHERE "row" IN ({_placeholders(chunk)})'
            found += self.query(query, chunk)
        return sorted(found)

    def changed_since(self, revision: str) -> CatalogRows | None:
        """Return the rows that were added, removed or changed after a revision, ascending; None if that is unknown.

        A row that a REPLACE removed may be missing; then the number of items is lower than these rows account for.
        """
        import numpy as np  # noqa: PLC0415 - a third of the import time of the catalog

        with self._querying() as connection:
            rows = schema.changed_rows(connection, revision)
        return None if rows is None else CatalogRows(np.array(rows, np.int64))

    def title_keys(self) -> Iterator[tuple[int, str, int | None]]:
        """Yield (row, key, year) of every item in the order of rows; see `titles.key`."""
        retitled = self._keys_of_retitled()
        with schema.CATALOG.opened(self.path, "ro") as connection:
            for row, key, year in connection.execute('SELECT "row", "key", year FROM items ORDER BY "row"'):
                yield row, retitled.get(row, key), year

    def items(self, rows: Sequence[int]) -> list[Item]:
        """Return the items with these row numbers, in this order.

        Raises:
            KeyError: there is no such row.
        """
        found = {item.row: item for item in self._select('"row"', [int(row) for row in rows])}
        return [found[CatalogRow(int(row))] for row in rows]

    def by_ids(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return the items with these ids; ids that do not exist are left out."""
        # SQLite takes no text with lone surrogates, so such a text is not an id.
        encodable = [text for text in dict.fromkeys(ids) if text == text.encode(errors="replace").decode()]
        return {item.id: item for item in self._select("id", encodable)}

    def by_rows(self, rows: Iterable[int]) -> list[Item]:
        """Return the items with these row numbers, in the order of rows; rows that do not exist are left out."""
        return sorted(self._select('"row"', list(dict.fromkeys(rows))), key=lambda item: item.row)

    def by_keys(self, keys: Iterable[str]) -> list[Item]:
        """Return the items whose title has one of these keys, in the order of rows."""
        wanted, retitled = dict.fromkeys(keys), self._keys_of_retitled()
        found = [item for item in self._select('"key"', list(wanted)) if item.row not in retitled]
        found += self._select('"row"', [row for row, key in retitled.items() if key in wanted])
        return sorted(found, key=lambda item: item.row)

    def filter(self, where: str) -> CatalogRows:
        """Return the rows that satisfy an SQL condition over `columns`, ascending; shape (n,), n may be 0.

        A comparison of a list column with one value asks whether the item has it: `genre = 'Comedy'`. The result is
        kept in memory until the file changes.

        Raises:
            UsageError: not a condition, an unknown column, or more than 2 s of work.
        """
        from genrec_edge.catalog.where_cache import RowSetCache  # noqa: PLC0415 - numpy, a third of the import time of the catalog

        with self._querying() as connection:
            if self._filter_results is None:
                self._filter_results = RowSetCache()
            results = self._filter_results
            # Changes with any commit of another program; the revision does not where only values of lists changed.
            version = connection.execute("PRAGMA data_version").fetchone()
        rows = results.get(version, where)
        if rows is None:
            with schema.CATALOG.opened(self.path, "ro") as connection:
                rows = where_module.matching_rows(connection, where, self.columns, self.list_columns)
            results.put(version, where, rows)
        return CatalogRows(rows)

    def search(self, text: str, limit: int = 10, *, prefix: bool = True) -> list[Item]:
        """Return the items whose title has all words of `text`, best match first.

        Args:
            text: any text; only its words count, at most 32.
            limit: the largest number of items.
            prefix: whether the last word may be the start of a longer one.
        """
        words = _WORD.findall(titles.clean(text))[:_MAX_WORDS]
        if not words:
            return []
        query = " ".join(f'"{word}"' for word in words) + ("*" if prefix else "")
        found = self.query(
            "SELECT rowid FROM items_fts WHERE items_fts MATCH ? ORDER BY rank, rowid LIMIT ?", [query, limit]
        )
        rows = [row for (row,) in found]
        items = {item.row: item for item in self._select('"row"', rows)}
        return [items[row] for row in rows if row in items]  # one may have gone meanwhile

    def list_values(self, rows: Sequence[int], columns: Sequence[str]) -> dict[tuple[int, str], list[str]]:
        """Return the values of list columns by (row, column), in the order in which they were imported.

        The order is read from the column itself, where the values are joined; one that is not found there comes first.
        """
        found: dict[tuple[int, str], list[str]] = {}
        for start in range(0, len(rows), _MAX_PARAMETERS):
            chunk = [int(row) for row in rows[start : start + _MAX_PARAMETERS]]
            query = f"SELECT item, field, value FROM item_values WHERE item IN ({_placeholders(chunk)})"
            for row, column, value in self.query(query, chunk):
                if column in columns:
                    found.setdefault((row, column), []).append(value)
        items = self.items(sorted({row for row, _ in found}))
        columns_of: dict[int, Mapping[str, Value]] = {item.row: item.columns for item in items}
        for (row, column), values in found.items():
            joined = str(columns_of[row][column] or "")
            values.sort(key=lambda value, joined=joined: joined.find(value))  # type: ignore[misc]
        return found

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query that does not come from a user; conditions of users go through `filter`."""
        with self._querying() as connection:
            return connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the file; the catalog cannot be used after that. May be called twice."""
        with self._lock:
            self._is_closed = True
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _querying(self) -> Iterator[sqlite3.Connection]:
        where_module.poll()  # whatever asks the catalog again and again keeps the deadline of its caller
        with self._lock, schema.CATALOG.errors(self.path):
            if not self._is_closed and not self._connection.in_transaction:
                self._follow_file()
            yield self._connection

    def _follow_file(self) -> None:
        """Open a file anew that was replaced, and read its columns anew where another program changed them."""
        number = _file_number(self.path)
        if number not in {None, self._file}:
            connection = _connect(self.path)
            self._connection.close()
            self._connection, self._file, self._schema_version = connection, number, -1
            self._filter_results = None
        (schema_version,) = self._connection.execute("PRAGMA schema_version").fetchone()
        if schema_version != self._schema_version:
            rows = self._connection.execute("SELECT name, value FROM meta")
            self.meta = {str(name): str(value) for name, value in rows}
            self.item_columns = tuple(schema.column_names(self._connection))
            self.list_columns = tuple(schema.list_names(self._connection))
            self._schema_version = schema_version

    def _keys_of_retitled(self) -> dict[int, str]:
        """Return the right keys of items whose title another program changed: it cannot know how keys are made."""
        with self._querying() as connection:
            revision = schema.meta_value(connection, "revision")
            if self._retitled[0] != revision:
                changed = schema.changed_items(connection)
                wrong = {row: right for row, title, key in changed if (right := titles.key(title)) != key}
                self._retitled = (revision, wrong)
            return self._retitled[1]

    def _select(self, column: str, values: Sequence[object]) -> Iterator[Item]:
        with self._querying():
            item_columns = self.item_columns
        names = ", ".join(quoted(name) for name in ("row", "id", "title", "year", *item_columns))
        for start in range(0, len(values), _MAX_PARAMETERS):
            chunk = values[start : start + _MAX_PARAMETERS]
            query = f"SELECT {names} FROM items WHERE {column} IN ({_placeholders(chunk)})"
            for row, item_id, title, year, *rest in self.query(query, chunk):
                columns = dict(zip(item_columns, rest, strict=True))
                yield Item(row, item_id, title, year, columns)


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file read-only, and check it."""
    connection = schema.CATALOG.connect(path, "ro")
    try:
        with schema.CATALOG.errors(path):
            is_up_to_date = check_file(path, connection)
        if not is_up_to_date:
            _bring_up_to_date(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _file_number(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that replaced it, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _bring_up_to_date(path: Path) -> None:
    """Let the single values follow list columns that another program changed in a catalog without our triggers."""
    from genrec_edge.catalog.edit import changing  # noqa: PLC0415 - rarely needed, and it loads the readers of tables

    try:
        with changing(path):
            pass
    except CatalogError as e:
        message = f"another program changed list columns of the catalog {path}, which filters do not see yet"
        raise CatalogError(message, hint=f"open it once where it can be written ({e.message})") from e


def _placeholders(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
