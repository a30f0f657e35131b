"""Rows of a CSV, TSV, JSON, JSON-lines or SQLite file, recognised by its content and read as a stream.

A file may be compressed with gzip, bzip2 or xz. Knows nothing of catalogs; `infer_columns.py` finds what columns mean.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from genrec_edge.errors import UsageError
from genrec_edge.storage.sqlite import quoted
from genrec_edge.storage.text_files import open_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.storage.text_files import ReadShare

_CHUNK_CHARACTERS = 1 << 16
_MAX_FIELD_CHARACTERS = 1 << 24
_SQLITE_MAGIC = b"SQLite format 3\0"
_RECBOLE_HEADER = re.compile(r"(?P<name>.+):(?P<type>token|token_seq|float|float_seq)")


class TableSource(ABC):
    """The rows of one file, readable any number of times.

    Attributes:
        path: the file.
        unit: what a row's number counts, for messages: "line", "item" or "row".
        columns: distinct names (case does not count). Those of a JSON source are complete after it was read once.
        space_lists: the columns whose header says that spaces separate values (RecBole's `token_seq`).
        share_read: the share of the file that the current pass has read, 0..1.
    """

    def __init__(self, path: Path, unit: str) -> None:
        self.path = path
        self.unit = unit
        self.columns: list[str] = []
        self.space_lists: frozenset[str] = frozenset()
        self.share_read = 0.0

    @abstractmethod
    def rows(self) -> Iterator[tuple[int, list[object]]]:
        """Yield (number, cells); cells are in the order of `columns`, and missing ones at the end are left out.

        Raises:
            UsageError: a row cannot be read; the message has its number.
        """

    def error(self, number: int, what: str, hint: str = "") -> UsageError:
        """Return the error about one row."""
        return UsageError(f"{self.path}, {self.unit} {number}: {what}", hint=hint)


def open_source(path: Path, table: str | None = None) -> TableSource:
    """Return the source of a file, recognised by its first bytes. Read-only.

    Args:
        path: the file; its name does not matter.
        table: the table to read, for SQLite files with more than one.

    Raises:
        UsageError: no such file, an empty file, or a missing header or table.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no such file: {path}", hint="check its name")
    try:
        with path.open("rb") as raw:
            magic = raw.read(len(_SQLITE_MAGIC))
    except OSError as e:
        message = f"cannot read {path} ({e.strerror})"
        raise UsageError(message, hint="check its permissions") from e
    if magic == _SQLITE_MAGIC:
        return _SqliteSource(path, table)
    if table is not None:
        message = f"{path} is not a SQLite file, so it has no table {table!r}"
        raise UsageError(message, hint="leave out `table`")
    with open_text(path) as (text, _):
        start = next((line for line in text if line.strip()), "")
    if not start:
        raise UsageError(f"{path} is empty", hint="choose a file with rows")
    if start.lstrip()[0] in "[{":
        return _JsonSource(path, is_array=start.lstrip()[0] == "[")
    return _DelimitedSource(path, start)


class _DelimitedSource(TableSource):
    """CSV with any usual delimiter, or TSV, where quotes may be unpaired as in IMDb and RecBole files."""

    def __init__(self, path: Path, header: str) -> None:
        super().__init__(path, "line")
        self._delimiter = max("\t,;|", key=header.count)
        if not header.count(self._delimiter):
            self._delimiter = "\t"  # a single column: commas in it are text
        names = next((cells for _, cells in self._records() if any(cells)), [])
        typed = [_RECBOLE_HEADER.fullmatch(name.strip()) for name in names]
        plain = [match["name"] if match else name for match, name in zip(typed, names, strict=True)]
        self.columns = distinct_names(plain)
        self.space_lists = frozenset(
            name for name, match in zip(self.columns, typed, strict=True) if match and match["type"].endswith("_seq")
        )

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        n_columns = len(self.columns)
        records = ((number, cells) for number, cells in self._records() if any(cells))
        next(records)
        for number, cells in records:
            if len(cells) > n_columns:
                raise self.error(
                    number,
                    f"{len(cells)} fields, but the header names {n_columns}",
                    'put fields that hold the delimiter in "double quotes"',
                )
            yield number, cast("list[object]", cells)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        with open_text(self.path, newline=None if self._delimiter == "\t" else "") as (text, share):
            yield from self._tabbed(text, share) if self._delimiter == "\t" else self._quoted(text, share)

    def _tabbed(self, text: IO[str], share: ReadShare) -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(text, 1):
            if not number & 1023:
                self.share_read = share()
            cells = line.rstrip("\n").split("\t")
            if '"' in line:
                cells = [_unquoted(cell) for cell in cells]
            yield number, cells

    def _quoted(self, text: IO[str], share: ReadShare) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(_MAX_FIELD_CHARACTERS)
        reader = csv.reader(text, delimiter=self._delimiter, strict=True)
        number = 1
        try:
            for cells in reader:
                if not number & 1023:
                    self.share_read = share()
                yield number, cells
                number = reader.line_num + 1
        except csv.Error as e:
            raise self.error(number, f"not valid CSV ({e})") from e


def _unquoted(cell: str) -> str:
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


class _JsonSource(TableSource):
    """One JSON object a line, or one array of objects."""

    def __init__(self, path: Path, *, is_array: bool) -> None:
        super().__init__(path, "item" if is_array else "line")
        self._is_array = is_array
        self._position: dict[str, int] = {}

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        position = self._position
        for number, record in self._records():
            if not isinstance(record, dict):
                raise self.error(number, "not a JSON object", "every item must be an object with a title")
            if not record.keys() <= position.keys():
                self._learn(record)
            cells: list[object] = [None] * len(position)
            for name, value in record.items():
                cells[position[name]] = value
            yield number, cells

    def _learn(self, record: dict[str, object]) -> None:
        for name in record:
            self._position.setdefault(name, len(self._position))
        self.columns = distinct_names(list(self._position))

    def _records(self) -> Iterator[tuple[int, object]]:
        with open_text(self.path) as (text, share):
            values = self._elements(text) if self._is_array else self._lines(text)
            for number, value in values:
                if not number & 1023:
                    self.share_read = share()
                yield number, value

    def _lines(self, text: IO[str]) -> Iterator[tuple[int, object]]:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as e:
                hint = "write one JSON object a line, or one array of objects"
                raise self.error(number, f"not valid JSON ({e})", hint) from e

    def _elements(self, text: IO[str]) -> Iterator[tuple[int, object]]:
        """Decode the elements of one array without holding the whole of it."""
        decoder = json.JSONDecoder()
        buffer, number, at_end = text.read(_CHUNK_CHARACTERS).lstrip()[1:], 1, False
        while True:
            buffer = buffer.lstrip()
            if buffer.startswith("]"):
                return
            try:
                value, end = decoder.raw_decode(buffer)
                buffer = buffer[end:].lstrip()
                if not buffer and not at_end:
                    buffer = text.read(_CHUNK_CHARACTERS).lstrip()
                if buffer[:1] not in {",", "]"}:
                    raise ValueError("a comma or ] is missing")  # noqa: TRY301
            except (ValueError, RecursionError) as e:
                # The element continues beyond the buffer or is broken: which of them, only the end of the file shows.
                more = text.read(max(_CHUNK_CHARACTERS, len(buffer)))
                at_end = not more
                if at_end:
                    raise self.error(number, f"not valid JSON ({e})") from e
                buffer += more
                continue
            yield number, value
            number += 1
            buffer = buffer.removeprefix(",")


class _SqliteSource(TableSource):
    """One table or view of a foreign SQLite file, which is opened read-only and not trusted."""

    def __init__(self, path: Path, table: str | None) -> None:
        super().__init__(path, "row")
        with self._connection() as connection:
            query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
            tables = [str(name) for (name,) in connection.execute(query)]
            self._table = self._choose(tables, table)
            cursor = connection.execute(f"SELECT * FROM {quoted(self._table)} LIMIT 0")
            self.columns = distinct_names([str(column[0]) for column in cursor.description])

    def _choose(self, tables: list[str], table: str | None) -> str:
        if table is None and len(tables) == 1:
            return tables[0]
        if table in tables:
            return str(table)
        what = "has more than one table" if table is None else f"has no table {table!r}"
        message = f"{self.path} {what}; it holds: {', '.join(tables) or 'none'}"
        raise UsageError(message, hint="choose one with `table`")

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        with self._connection() as connection:
            n_rows = connection.execute(f"SELECT count(*) FROM {quoted(self._table)}").fetchone()[0]
            query = f"SELECT * FROM {quoted(self._table)}"
            for number, row in enumerate(connection.execute(query), 1):
                if not number & 1023:
                    self.share_read = number / n_rows
                yield number, [None if isinstance(cell, bytes) else cell for cell in row]

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


def distinct_names(names: list[str]) -> list[str]:
    """Return column names stripped, none empty, and none equal to an earlier one whatever its case.

    >>> distinct_names(["id", " Title ", "", "ID"])
    ['id', 'Title', 'column_3', 'ID_2']
    """
    result: list[str] = []
    used: set[str] = set()
    for position, raw in enumerate(names, 1):
        name = base = "".join(c for c in raw if c.isprintable()).strip() or f"column_{position}"
        suffix = 2
        while name.casefold() in used:
            name, suffix = f"{base}_{suffix}", suffix + 1
        used.add(name.casefold())
        result.append(name)
    return result
