"""Writing a catalog as a table that `writer.build` reads back equal: CSV, or a JSON object a line."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec_edge.catalog import schema
from genrec_edge.errors import UsageError
from genrec_edge.storage import files
from genrec_edge.storage.infer_columns import infer_columns
from genrec_edge.storage.sqlite import quoted
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence

_ENDS = (".csv", ".jsonl")
_ROWS_PER_CALL = 1000
_MAX_STEPS = 10_000
"""Of the search for the order of the values of one cell."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote, and the options with which `catalog build` makes the same columns of it."""

    path: Path
    n_items: int
    columns: tuple[str, ...]
    build_options: tuple[str, ...]


def export(
    path: str | Path,
    out_path: str | Path,
    *,
    force: bool = False,
    progress: Callable[[float], object] | None = None,
) -> ExportReport:
    """Write the items of a catalog to a file, in their order; `out_path` appears when all of it is on the disk.

    Lists are JSON arrays. Columns that would be read as another type say so in `build_options`.

    Args:
        path: the catalog.
        out_path: a name that ends in .csv or .jsonl.
        force: replace an existing file; never the catalog itself.
        progress: called with the share done, 0..1.

    Raises:
        UsageError: `out_path` has another end, exists, or is the catalog.
        CatalogError: `path` is not a catalog.
        DiskFullError: the disk is full.
    """
    path, out_path = Path(path), Path(out_path)
    if out_path.suffix not in _ENDS:
        raise UsageError(f"{out_path} must end in {' or '.join(_ENDS)}", hint="its end says what is written")
    files.require_other_file(out_path, [path])
    files.refuse_existing(out_path, force=force)
    with files.path_errors(out_path), schema.CATALOG.opened(path, "ro") as connection:
        connection.execute("BEGIN")  # all queries see one state
        lists = schema.list_names(connection)
        names = ["id", "title", "year", *schema.column_names(connection)]
        (n_items,) = connection.execute("SELECT count(*) FROM items").fetchone()
        rows = _reported(_rows(connection, names, lists), n_items, progress)
        with files.atomic_write(out_path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
            (_write_csv if out_path.suffix == ".csv" else _write_lines)(text, names, rows)
            text.flush()
            options = tuple(_build_options(Path(file.name), schema.column_kinds(connection), names, lists))
            text.detach()
    return ExportReport(out_path, n_items, tuple(names), options)


def _rows(connection: sqlite3.Connection, names: Sequence[str], lists: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the cells of each item; those of list columns as lists, in the order in which they were imported."""
    items = connection.execute(f'SELECT "row", {", ".join(map(quoted, names))} FROM items ORDER BY "row"')
    values = connection.execute("SELECT item, field, value FROM item_values ORDER BY item")
    positions = {name: names.index(name) for name in lists if name in names}
    waiting = next(values, None)
    for row, *cells in items:
        found: dict[str, list[str]] = {}
        while waiting is not None and waiting[0] <= row:
            if waiting[0] == row:
                found.setdefault(waiting[1], []).append(waiting[2])
            waiting = next(values, None)
        for name, position in positions.items():
            cells[position] = in_order(str(cells[position] or ""), found.get(name, []))
        yield cells


def in_order(joined: str, values: Sequence[str]) -> list[str]:
    """Return values in the order in which they stand in a text that joins them with ", ".

    >>> in_order("Science Fiction, Action, Fiction", ["Action", "Fiction", "Science Fiction"])
    ['Science Fiction', 'Action', 'Fiction']
    """
    steps = 0

    def order(at: int, left: frozenset[str]) -> list[str] | None:
        nonlocal steps
        steps += 1
        if not left:
            return [] if at == len(joined) + 2 else None
        for value in sorted(left, key=len, reverse=True):
            end = at + len(value)
            if joined.startswith(value, at) and (end == len(joined) or joined.startswith(", ", end)):
                rest = order(end + 2, left - {value}) if steps < _MAX_STEPS else None
                if rest is not None:
                    return [value, *rest]
        return None

    found = order(0, frozenset(values)) if values and len(values) < 500 else None
    return found if found is not None else sorted(values, key=joined.find)


def _reported(
    rows: Iterator[list[Any]], n_items: int, progress: Callable[[float], object] | None
) -> Iterator[list[Any]]:
    for number, cells in enumerate(rows):
        if progress is not None and not number % _ROWS_PER_CALL:
            progress(number / n_items)
        yield cells


def _write_csv(file: io.TextIOWrapper, names: Sequence[str], rows: Iterator[list[Any]]) -> None:
    csv.writer(file, quoting=csv.QUOTE_ALL).writerow(names)  # so that no name looks like a delimiter
    writer = csv.writer(file)
    for cells in rows:
        writer.writerow([_json(cell) if isinstance(cell, list) else cell for cell in cells])


def _write_lines(file: io.TextIOWrapper, names: Sequence[str], rows: Iterator[list[Any]]) -> None:
    file.writelines(
        json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False, allow_nan=False) + "\n" for cells in rows
    )


def _json(values: list[str]) -> str | None:
    return json.dumps(values, ensure_ascii=False) if values else None


def _build_options(path: Path, kinds: Mapping[str, str], names: Sequence[str], lists: Sequence[str]) -> Iterator[str]:
    """Yield the options without which columns of a written file would be of another type than in the catalog."""
    for column in infer_columns(open_source(path)):
        name = names[column.position]
        if name in {"id", "title", "year"}:
            continue
        if name in lists:
            if column.separator is None:
                yield f"--list {name}"
        elif column.separator is not None:
            yield f"--no-list {name}"
        elif kinds[name] == "TEXT" and column.kind != "TEXT":
            yield f"--text {name}"
