"""From the rows of a source to the rows of a catalog: which cell goes where, and copying them in batches.

Knows `TableSource` and the tables of `schema.py`; `writer.py` and `edit.py` open the files.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, cast

from genrec_edge.catalog import schema, titles
from genrec_edge.catalog.item_ids import HiddenIds
from genrec_edge.errors import UsageError
from genrec_edge.storage.cells import NULLS, parse_year, text_of
from genrec_edge.storage.numbers import PLAIN, is_missing
from genrec_edge.storage.sqlite import quoted
from genrec_edge.storage.tables import TableSource, distinct_names
from genrec_edge.storage.typed_table import padded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from genrec_edge.storage.column_roles import Roles
    from genrec_edge.storage.columns import Column
    from genrec_edge.storage.numbers import Kind

_BATCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """Which cell of a source goes where in the catalog."""

    source: TableSource
    roles: Roles
    profile: Sequence[Column]
    """Every column of the source, in its order."""
    columns: Sequence[tuple[str, Column]]
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
    n_without_year: int = 0
    """Cells of the year column that hold something, and no year."""
    first_without_year: str = ""
    """The first of them, with its place."""
    id_notes: Sequence[str] = ()
    """What should be said of the ids."""


_Row = tuple[int, tuple[object, ...], list[tuple[int, str, str]]]
"""The number in the source, a row of `items`, and rows of `item_values`."""


def new_columns(profile: Sequence[Column], roles: Roles) -> list[tuple[str, Column]]:
    """Return the columns that a new catalog keeps, with their names; a name that is reserved gets a number."""
    kept = _kept(profile, roles)
    reserved = schema.RESERVED_COLUMNS
    names = distinct_names([*reserved, *(column.name for column in kept)])[len(reserved) :]
    return list(zip(names, kept, strict=True))


def matching_columns(
    connection: sqlite3.Connection, path: Path, profile: Sequence[Column], roles: Roles
) -> list[tuple[str, Column]]:
    """Return the columns of a source, with the names of the columns of an existing catalog that they belong to.

    Raises:
        UsageError: the catalog has no such column.
    """
    existing = {name.casefold(): name for name in schema.column_names(connection)}
    kinds = schema.column_kinds(connection)
    separators = list_separators(connection)
    found: list[tuple[str, Column]] = []
    for name, column in new_columns(profile, roles):
        own_name = existing.get(name.casefold())
        if own_name is None:
            if column.position != roles.year:
                message = (
                    f"{path} has no column {column.name!r}; its columns are: {', '.join(existing.values()) or 'none'}"
                )
                raise UsageError(message, hint="rename or remove the column in the source")
        elif own_name in separators:
            found.append((own_name, replace(column, separator=column.separator or separators[own_name])))
        else:
            found.append((own_name, _as_kind(column, kinds[own_name])))
    return found


def list_separators(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the list columns of a catalog, with what separated their values in the file that it was built of."""
    known = schema.separators(connection)
    return {name: known.get(name, ",") for name in schema.list_names(connection)}


def _as_kind(column: Column, kind: str) -> Column:
    """Return the column of a source as one of single values of the type that a catalog's column has."""
    column = replace(column, decisions=())
    if kind == "TEXT":
        return replace(column, separator=None, kind="TEXT", numbers=PLAIN, has_words_for_missing=False)
    if kind in {"INTEGER", "REAL"}:
        return replace(column, separator=None, kind=cast("Kind", kind))
    return replace(column, separator=None)


def _kept(profile: Sequence[Column], roles: Roles) -> list[Column]:
    taken = {roles.title, roles.id}
    if roles.year is not None and (profile[roles.year].are_years or profile[roles.year].is_empty):
        taken.add(roles.year)  # a column of full dates, or of other texts, is kept beside the year taken from it
    return [column for column in profile if column.position not in taken]


def insert_rows(connection: sqlite3.Connection, plan: ColumnPlan, on_progress: Callable[[], object]) -> RowCounts:
    """Copy the rows of the source into `items` and `item_values`, in batches."""
    names = ['"row"', "id", "title", "year", '"key"', *(quoted(name) for name, _ in plan.columns)]
    statement = f"INSERT INTO items({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    counts, digest = RowCounts(), hashlib.blake2b(digest_size=8)
    hidden = HiddenIds()
    encoded = _encoded(plan, counts, hidden)
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
    query = "SELECT id FROM items"
    counts.id_notes = hidden.notes(lambda: (str(item_id) for (item_id,) in connection.execute(query)))
    return counts


def _encoded(plan: ColumnPlan, counts: RowCounts, hidden: HiddenIds) -> Iterator[_Row]:
    """Yield (number in the source, row of `items`, rows of `item_values`) for every row that has a title."""
    roles, n_columns = plan.roles, len(plan.source.columns)
    row = plan.last_row
    id_number = max(plan.last_number, plan.last_row)
    for number, source_cells in plan.source.rows():
        cells = padded(source_cells, n_columns)
        title, year = _title_and_year(plan, number, cells, counts)
        if not title:
            counts.n_untitled += 1
            continue
        row += 1
        id_number += 1
        item_id = str(id_number) if roles.id is None else _id(plan, number, roles.id, cells[roles.id])
        hidden.see(item_id, f" in {plan.source.unit} {number}")
        kept: list[object] = []
        values: list[tuple[int, str, str]] = []
        for name, column in plan.columns:
            cell = cells[column.position]
            try:
                if column.separator is None:
                    kept.append(column.value(cell))
                    continue
                texts = column.values(cell)
            except ValueError as e:
                raise _value_error(plan, number, name, column, e) from e
            kept.append(", ".join(texts) or None)
            values += [(row, name, text) for text in texts]
        yield number, (row, item_id, title, year, titles.key(title), *kept), values


def _value_error(plan: ColumnPlan, number: int, name: str, column: Column, error: ValueError) -> UsageError:
    hint = ""
    if column.kind != "TEXT":
        known = "" if plan.source.unit == "item" else " name the decimal mark with `decimal`,"
        hint = f"{name!r} holds numbers; write them without marks, such as 1234.5,{known} or leave the value out"
    return plan.source.error(number, f"{name}: {error}", hint)


def _id(plan: ColumnPlan, number: int, position: int, cell: object) -> str:
    name = plan.source.columns[position]
    try:
        item_id = plan.profile[position].id(cell)
    except ValueError as e:
        raise plan.source.error(number, f"{name}: {e}", "every item needs an id that is a text or a number") from e
    if item_id is None:
        raise plan.source.error(number, f"no {name!r}; every item needs an id")
    return item_id


def _title_and_year(
    plan: ColumnPlan, number: int, cells: Sequence[object], counts: RowCounts
) -> tuple[str, int | None]:
    """Return display title and year; a year in brackets after the title is taken off unless it differs."""
    roles = plan.roles
    cell = cells[roles.title]
    if isinstance(cell, bool | list | dict | bytes):
        kind = {bool: "true or false", list: "a list", dict: "an object"}.get(type(cell), "bytes")
        what = f"{plan.source.columns[roles.title]}: the title is {kind}, not text"
        raise plan.source.error(number, what, "name the column of the titles with `title`")
    text = cell.strip() if isinstance(cell, str) else text_of(cell) or ""
    title = "" if text in NULLS else titles.clean(text)
    year_cell = None if roles.year is None else cells[roles.year]
    year = parse_year(year_cell)
    if year is None and year_cell is not None and _says_something(year_cell):
        counts.n_without_year += 1
        counts.first_without_year = counts.first_without_year or f"{year_cell!r:.60} in {plan.source.unit} {number}"
    bare, suffix_year = titles.split_year(title)
    return (bare, suffix_year) if suffix_year is not None and year in {None, suffix_year} else (title, year)


def _says_something(year_cell: object) -> bool:
    text = str(year_cell).strip()
    return text not in NULLS and not is_missing(text)


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
