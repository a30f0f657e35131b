"""Changing a catalog: adding the items of a file or a single one, and removing items; each all or nothing."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.catalog import schema
from genrec_edge.catalog.check import check_file
from genrec_edge.catalog.list_triggers import follow_lists, importing
from genrec_edge.catalog.rows import ColumnPlan, insert_rows, list_separators, matching_columns
from genrec_edge.catalog.writer import import_report, progress_reporter
from genrec_edge.errors import CatalogError, UsageError
from genrec_edge.storage.cells import MAX_YEAR, MIN_YEAR, parse_year
from genrec_edge.storage.column_roles import Roles, choose_roles, require_header
from genrec_edge.storage.infer_columns import Choices, infer_columns
from genrec_edge.storage.tables import TableSource, distinct_names, open_source

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from genrec_edge.catalog.writer import BuildReport
    from genrec_edge.records import Value

_MAX_ROW = 2**62
"""Row numbers of SQLite end at twice that; only a catalog that another program wrote comes near."""


def add(
    path: str | Path,
    source_path: str | Path,
    *,
    title: str | None = None,
    id: str | None = None,  # noqa: A002
    year: str | None = None,
    table: str | None = None,
    columns: Sequence[str] | None = None,
    decimal: str | None = None,
    progress: Callable[[float], object] | None = None,
) -> BuildReport:
    """Add the items of a file to a catalog, all or none. Arguments as for `build`.

    Cells are read by the same rules, and have to be of the types that the columns of the catalog have.

    Raises:
        UsageError: the source is not valid, has a column that the catalog does not have, an id that it already has, or
            a text where the catalog holds numbers; the message names the line.
        CatalogError: `path` is not a catalog.
        LockedError: another process is writing to it.
    """
    source = open_source(Path(source_path), table, columns)
    require_header(source)
    return _add(Path(path), source, lambda names: choose_roles(names, title=title, id=id, year=year), progress, decimal)


def add_item(
    path: str | Path,
    title: str,
    *,
    id: str | None = None,  # noqa: A002
    year: int | None = None,
    columns: Mapping[str, Value] | None = None,
) -> BuildReport:
    """Add one item to a catalog; without an id it gets the next free number. Raises as `add` does."""
    if year is not None and parse_year(year) is None:
        hint = f"give a whole number from {MIN_YEAR:,} to {MAX_YEAR:,} but 0; years before Christ are negative"
        raise UsageError(f"`year` is {year!r:.60}, which is no year", hint=hint)
    if not (columns is None or (isinstance(columns, Mapping) and all(isinstance(name, str) for name in columns))):
        raise UsageError(f"`columns` is {columns!r:.60}", hint="give a mapping from names of columns to values")
    values = ((name, _plain_value(name, value)) for name, value in (columns or {}).items())
    cells: list[tuple[str, object]] = [("title", title), ("year", year), *values]
    roles = Roles(title=0, year=1, id=None if id is None else len(cells))
    if id is not None:
        cells.append(("id", id))
    return _add(Path(path), _SingleItem(cells), lambda _: roles, None)


def _plain_value(name: str, value: object) -> object:
    """Return the value of a column as Python's own number, if it is one of NumPy or `decimal`.

    Raises:
        UsageError: it is of a kind that no column holds, or is given by another argument.
    """
    if name.casefold() in {"title", "year", "id"}:
        raise UsageError(f"{name!r} is not a value among others", hint=f"set `{name.casefold()}` instead")
    if isinstance(value, bytes | bytearray | memoryview):
        raise UsageError(f"{name}: bytes are no value of a catalog", hint="give a text or a number")
    if isinstance(value, numbers.Real | Decimal) and not isinstance(value, int | float):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return value


def remove(path: str | Path, ids: Iterable[str]) -> int:
    """Remove items from a catalog, all or none, and return how many there were.

    Raises:
        UsageError: an id is not in the catalog, or nothing would be left.
        CatalogError: `path` is not a catalog.
        LockedError: another process is writing to it.
    """
    unique_ids = list(dict.fromkeys(ids))
    with changing(Path(path)) as connection:
        query = "SELECT 1 FROM items WHERE id = ?"
        missing = [item_id for item_id in unique_ids if connection.execute(query, [item_id]).fetchone() is None]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            message = f"{path} has no item with the id {missing[0]!r}{more}; nothing was removed"
            raise UsageError(message, hint="`genrec-edge catalog search TEXT` shows the ids of items")
        connection.executemany("DELETE FROM items WHERE id = ?", [(item_id,) for item_id in unique_ids])
        if connection.execute("SELECT 1 FROM items LIMIT 1").fetchone() is None:
            message = f"{path} would be left without items; nothing was removed"
            raise UsageError(message, hint="delete the file instead")
    return len(unique_ids)


@contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a checked catalog inside one transaction; what other programs left undone is done first.

    Raises:
        CatalogError: `path` is not a catalog, or damaged.
        LockedError: another process is writing to it.
    """
    with schema.CATALOG.opened(path, "ro") as connection:
        check_file(path, connection)
    with schema.CATALOG.writing(path) as connection:
        schema.track_changes(connection)
        follow_lists(connection, schema.list_names(connection))
        yield connection


def _add(
    path: Path,
    source: TableSource,
    roles_of: Callable[[Sequence[str]], Roles],
    progress: Callable[[float], object] | None,
    decimal: str | None = None,
) -> BuildReport:
    """Add the rows of a source in one transaction; `roles_of` finds title, id and year among its columns."""
    report_progress = progress_reporter(source, progress)
    with schema.CATALOG.opened(path, "ro") as connection:
        choices = Choices(known_lists=list_separators(connection).keys(), decimal=decimal)
    profile = infer_columns(source, choices, lambda: report_progress(0.0, 0.3))
    roles = roles_of(source.columns)
    with changing(path) as connection, importing(connection):
        (last_row,) = connection.execute('SELECT max("row") FROM items').fetchone()
        if last_row is not None and last_row >= _MAX_ROW:
            hint = "export it with `genrec-edge catalog export`, and build it again of that file"
            raise CatalogError(f"the catalog {path} has no row numbers left: its last is {last_row}", hint=hint)
        last_number = 0
        if roles.id is None:  # reads all ids: 0.2 s for a million
            (last_number,) = connection.execute("SELECT max(CAST(id AS INTEGER)) FROM items").fetchone()
        plan = ColumnPlan(
            source,
            roles,
            profile,
            matching_columns(connection, path, profile, roles),
            last_row or 0,
            last_number or 0,
        )
        counts = insert_rows(connection, plan, lambda: report_progress(0.3, 0.7))
        if not counts.n_items:
            message = f"{source.path} has no title, so nothing was added"
            raise UsageError(message, hint="set `title`; for a file it names the column of the titles")
    if progress is not None:
        progress(1.0)
    return import_report(path, plan, counts)


class _SingleItem(TableSource):
    """A source of one item, whose cells the caller gives."""

    def __init__(self, cells: Sequence[tuple[str, object]]) -> None:
        super().__init__(Path("the new item"), "item")
        self.columns = distinct_names([name for name, _ in cells])
        self._cells = [cell for _, cell in cells]

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        yield 1, list(self._cells)
