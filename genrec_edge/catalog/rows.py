"""From the rows of a source to the rows of a catalog: which cell goes where, and copying them in batches.

Knows `TableSource` and the tables of `schema.py`; `writer.py` and `edit.py` open the files.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from genrec_edge.catalog import schema, titles
from genrec_edge.errors import UsageError
from genrec_edge.storage import infer_columns as cols
from genrec_edge.storage.cells import parse_year, scalar, split_list
from genrec_edge.storage.sqlite import quoted
from genrec_edge.storage.tables import TableSource, distinct_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_BATCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """Which cell of a source goes where in the catalog."""

    source: TableSource
    roles: cols.Roles
    columns: Sequence[tuple[str, cols.Column]]
    """The columns that are neither title, id nor year: their names in the catalog, and what the source has."""
    last_row: int = 0
    """The largest row number of the catalog."""
    last_number: int = 0
    """The largest number among the ids of the catalog; items without ids get the next numbers."""

    @property
    def list_names(self) -> list[str]:
        """The columns that hold many values."""
        return [name for name, column in self.columns if column.separator is not None]


@dataclass(slots=True)
class RowCounts:
    """How many rows an import copied; `digest` is a hash of all of them, 16 hex digits."""

    n_items: int = 0
    n_untitled: int = 0
    digest: str = ""


_Row = tuple[int, tuple[object, ...], list[tuple[int, str, str]]]
"""The number in the source, a row of `items`, and rows of `item_values`."""


def new_columns(profile: Sequence[cols.Column], roles: cols.Roles) -> list[tuple[str, cols.Column]]:
    """Return the columns that a new catalog keeps, with their names; a name that is reserved gets a number."""
    kept = _kept(profile, roles)
    reserved = schema.RESERVED_COLUMNS
    names = distinct_names([*reserved, *(column.name for column in kept)])[len(reserved) :]
    return list(zip(names, kept, strict=True))


def matching_columns(
    connection: sqlite3.Connection, path: Path, profile: Sequence[cols.Column], roles: cols.Roles
) -> list[tuple[str, cols.Column]]:
    """Return the columns of a source, with the names of the columns of an existing catalog that they belong to.

    Raises:
        UsageError: the catalog has no such column.
    """
    existing = {name.casefold(): name for name in schema.column_names(connection)}
    lists = set(schema.list_names(connection))
    found: list[tuple[str, cols.Column]] = []
    for name, column in new_columns(profile, roles):
        own_name = existing.get(name.casefold())
        if own_name is not None:
            found.append((own_name, cols.as_list(column) if own_name in lists else cols.as_single(column)))
        elif column.position != roles.year:
            message = f"{path} has no column {name!r}; its columns are: {', '.join(existing.values()) or 'none'}"
            raise UsageError(message, hint="rename or remove the column in the source")
    return found


def _kept(profile: Sequence[cols.Column], roles: cols.Roles) -> list[cols.Column]:
    taken = {roles.title, roles.id}
    if roles.year is not None and (profile[roles.year].kind != "TEXT" or profile[roles.year].is_empty):
        taken.add(roles.year)  # a column of full dates is kept beside the year taken from it
    return [column for column in profile if column.position not in taken]


def insert_rows(connection: sqlite3.Connection, plan: ColumnPlan, on_progress: Callable[[], object]) -> RowCounts:
    """Copy the rows of the source into `items` and `item_values`, in batches."""
    names = ['"row"', "id", "title", "year", '"key"', *(quoted(name) for name, _ in plan.columns)]
    statement = f"INSERT INTO items({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    counts, digest = RowCounts(), hashlib.blake2b(digest_size=8)
    encoded = _encoded(plan, counts)
    while batch := list(islice(encoded, _BATCH_ROWS)):
        items = [item for _, item, _ in batch]
        digest.update(repr(items).encode())
        try:
            connection.executemany(statement, items)
        except sqlite3.IntegrityError as e:
            raise _integrity_error(connection, plan.source, batch) from e
        values = [value for _, _, values in batch for value in values]
        connection.executemany("INSERT OR IGNORE INTO item_values VALUES (?, ?, ?)", values)
        counts.n_items += len(batch)
        on_progress()
    counts.digest = digest.hexdigest()
    return counts


def _encoded(plan: ColumnPlan, counts: RowCounts) -> Iterator[_Row]:
    """Yield (number in the source, row of `items`, rows of `item_values`) for every row that has a title."""
    roles, n_columns = plan.roles, len(plan.source.columns)
    row = plan.last_row
    id_number = max(plan.last_number, plan.last_row)
    for number, source_cells in plan.source.rows():
        cells = source_cells + [None] * (n_columns - len(source_cells))
        title, year = _title_and_year(cells[roles.title], None if roles.year is None else cells[roles.year])
        if not title:
            counts.n_untitled += 1
            continue
        row += 1
        id_number += 1
        item_id = id_number if roles.id is None else scalar(cells[roles.id])
        if item_id is None:
            raise plan.source.error(number, f"no {plan.source.columns[roles.id or 0]!r}; every item needs an id")
        kept: list[object] = []
        values: list[tuple[int, str, str]] = []
        for name, column in plan.columns:
            cell = cells[column.position]
            if column.separator is None:
                kept.append(scalar(cell))
            else:
                texts = split_list(cell, column.separator)
                kept.append(", ".join(texts) or None)
                values += [(row, name, text) for text in texts]
        yield number, (row, str(item_id), title, year, titles.key(title), *kept), values


def _title_and_year(title_cell: object, year_cell: object) -> tuple[str, int | None]:
    """Return display title and year; a year in brackets after the title is taken off unless it differs."""
    title = titles.clean("" if title_cell is None else str(title_cell))
    year = parse_year(year_cell)
    bare, suffix_year = titles.split_year(title)
    return (bare, suffix_year) if suffix_year is not None and year in {None, suffix_year} else (title, year)


def _integrity_error(connection: sqlite3.Connection, source: TableSource, batch: Sequence[_Row]) -> UsageError:
    """Return the error about the row of a refused batch whose id exists already."""
    first_row = batch[0][1][0]
    seen: dict[object, int] = {}
    for number, (_, item_id, title, *_), _ in batch:
        query = 'SELECT title FROM items WHERE id = ? AND "row" < ?'
        earlier = connection.execute(query, [item_id, first_row]).fetchone()
        if item_id in seen or earlier is not None:
            other = f"{source.unit} {seen[item_id]}" if item_id in seen else f"the item {earlier[0]!r}"
            finding = f"{title!r} has the id {item_id!r}, as has {other}"
            return source.error(
                number, finding, "every item needs an id of its own; name the column of the ids with `id`"
            )
        seen[item_id] = number
    return source.error(batch[0][0], "SQLite refuses this item or one of those after it")
