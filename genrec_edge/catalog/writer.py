"""Making a catalog of a file: the whole catalog or nothing.

`storage/tables.py` reads the file and `storage/infer_columns.py` finds what its columns mean; `edit.py` changes a
catalog, `reader.py` reads it.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.catalog import schema
from genrec_edge.catalog.rows import ColumnPlan, RowCounts, insert_rows, new_columns
from genrec_edge.errors import CatalogError, UsageError
from genrec_edge.storage import files
from genrec_edge.storage.cells import JSON_LIST
from genrec_edge.storage.column_roles import choose_roles, require_header
from genrec_edge.storage.infer_columns import Choices, infer_columns
from genrec_edge.storage.sqlite import remove_beside
from genrec_edge.storage.tables import TableSource, open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from genrec_edge.storage.column_roles import Roles
    from genrec_edge.storage.columns import Column


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What an import did. `title_column`, `id_column`, `year_column` name columns of the source, None without one."""

    path: Path
    n_items: int
    n_untitled: int
    """Rows that were left out because they have no title."""
    title_column: str
    id_column: str | None
    year_column: str | None
    columns: tuple[str, ...]
    """The other columns, as they are called in the catalog."""
    list_columns: tuple[str, ...]
    decisions: tuple[str, ...] = ()
    """What was decided where it was not obvious, as "column: decision"."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `build` would make of a file."""

    path: Path
    roles: Roles
    columns: tuple[Column, ...]
    """The columns of the source, in its order."""


def build(
    source_path: str | Path,
    out_path: str | Path,
    *,
    title: str | None = None,
    id: str | None = None,  # noqa: A002
    year: str | None = None,
    table: str | None = None,
    columns: Sequence[str] | None = None,
    lists: Sequence[str] = (),
    no_lists: Sequence[str] = (),
    texts: Sequence[str] = (),
    decimal: str | None = None,
    name: str | None = None,
    licence: str = "",
    force: bool = False,
    progress: Callable[[float], object] | None = None,
) -> BuildReport:
    """Make a catalog from a table: CSV, TSV, JSON, SQLite, Parquet or xlsx.

    The file is read twice: once to find what its columns hold, once to copy it. `out_path` appears when all of it is on
    the disk; until then, and after any failure, it is as it was.

    Args:
        source_path: the file; text may be packed with gzip, bzip2, xz or zip.
        out_path: where the catalog goes; its folder is created.
        title: the column of the titles; guessed if None, as are `id` and `year`.
        id: the column of the ids, which have to be unique; without one, items are numbered.
        year: the column of the years; without one, a year in brackets after the title is used.
        table: what to read where there are several: a table of SQLite, a sheet, a file in a zip archive.
        columns: the names of the columns of a text that has none in its first row.
        lists: columns that hold many values, as "column" or "column:separator"; usual ones are recognised.
        no_lists: columns that hold single values, though they may look like lists.
        texts: columns that hold texts, though they may look like numbers.
        decimal: the decimal mark, "." or ",", where "1,234" may be either number.
        name: what the catalog is called; the name of the source file if None.
        licence: SPDX expression of the source's licence, if known.
        force: replace an existing `out_path`.
        progress: called with the share done, 0..1, about once in a thousand rows.

    Raises:
        UsageError: the source or an argument is not valid, `out_path` exists, or it is the source, whatever `force`
            says; the message names the line.
        MissingExtraError: Parquet or xlsx without the library for it.
        CatalogError: no row of the source has a title.
        DiskFullError: the disk is full.
    """
    source_path, out_path = Path(source_path), Path(out_path)
    files.require_other_file(out_path, [source_path])
    files.refuse_existing(out_path, force=force)
    source = open_source(source_path, table, columns)
    require_header(source)
    report_progress = progress_reporter(source, progress)
    choices = _choices(lists, no_lists, texts, decimal)
    profile = infer_columns(source, choices, lambda: report_progress(0.0, 0.3))
    roles = choose_roles(source.columns, title=title, id=id, year=year)
    plan = ColumnPlan(source, roles, profile, new_columns(profile, roles))
    meta = {
        "format": str(schema.CATALOG.version),
        "name": name or source_path.name.partition(".")[0],
        "source": source_path.name,
        "licence": licence,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "lists": json.dumps(plan.list_names, ensure_ascii=False),
        "separators": json.dumps(_separators(plan), ensure_ascii=False),
    }
    with (
        _writable(out_path),
        files.atomic_write(out_path) as part,
        schema.creating(Path(part.name), [(name, column.kind) for name, column in plan.columns]) as connection,
    ):
        connection.execute("BEGIN")
        counts = insert_rows(connection, plan, lambda: report_progress(0.3, 0.5))
        if not counts.n_items:
            message = f"no row of {source_path} has a title in its column {source.columns[roles.title]!r}"
            raise CatalogError(message, hint="name the column of the titles with `title`")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [*meta.items(), ("revision", counts.digest)])
        connection.execute("COMMIT")
        schema.create_indexes(connection)
        remove_beside(out_path)
    if progress is not None:
        progress(1.0)
    return import_report(out_path, plan, counts)


def inspect(
    source_path: str | Path,
    *,
    title: str | None = None,
    id: str | None = None,  # noqa: A002
    year: str | None = None,
    table: str | None = None,
    columns: Sequence[str] | None = None,
    lists: Sequence[str] = (),
    no_lists: Sequence[str] = (),
    texts: Sequence[str] = (),
    decimal: str | None = None,
    progress: Callable[[float], object] | None = None,
) -> Inspection:
    """Return what `build` would make of a file, which is read once for it. Arguments and errors as for `build`."""
    source = open_source(Path(source_path), table, columns)
    require_header(source)
    report_progress = progress_reporter(source, progress)
    choices = _choices(lists, no_lists, texts, decimal)
    profile = infer_columns(source, choices, lambda: report_progress(0.0, 1.0))
    return Inspection(source.path, choose_roles(source.columns, title=title, id=id, year=year), tuple(profile))


def import_report(path: Path, plan: ColumnPlan, counts: RowCounts) -> BuildReport:
    """Return the report of an import that is done."""
    names, roles = plan.source.columns, plan.roles
    return BuildReport(
        path=path,
        n_items=counts.n_items,
        n_untitled=counts.n_untitled,
        title_column=names[roles.title],
        id_column=None if roles.id is None else names[roles.id],
        year_column=None if roles.year is None else names[roles.year],
        columns=tuple(name for name, _ in plan.columns),
        list_columns=tuple(plan.list_names),
        decisions=(*_about_ids(plan, counts), *_decisions(plan), *_about_years(plan, counts)),
    )


def _decisions(plan: ColumnPlan) -> Iterator[str]:
    for name, column in plan.columns:
        for decision in column.decisions:
            yield f"{name}: {decision}"


def _about_ids(plan: ColumnPlan, counts: RowCounts) -> Iterator[str]:
    if plan.roles.id is not None:
        yield from (f"{plan.source.columns[plan.roles.id]}: {note}" for note in counts.id_notes)


def _about_years(plan: ColumnPlan, counts: RowCounts) -> Iterator[str]:
    if counts.n_without_year:
        name = plan.source.columns[plan.roles.year or 0]
        yield f"{name}: no year in {counts.n_without_year:,} of its values, the first {counts.first_without_year}"


def _choices(lists: Iterable[str], no_lists: Sequence[str], texts: Sequence[str], decimal: str | None) -> Choices:
    """Return what the caller says of columns; each of `lists` is "column" or "column:separator"."""
    parts = (text.partition(":") for text in lists)
    return Choices({name: separator or None for name, _, separator in parts}, no_lists, texts, decimal)


def _separators(plan: ColumnPlan) -> dict[str, str]:
    """Return what separates the values of list columns, so that a file added later is read in the same way."""
    return {name: c.separator for name, c in plan.columns if c.separator not in {None, JSON_LIST}}


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Raise a UsageError where a folder cannot be written."""
    try:
        yield
    except OSError as e:
        message = f"cannot write {path} ({e.strerror or e})"
        raise UsageError(message, hint="choose a folder that can be written") from e


def progress_reporter(
    source: TableSource, progress: Callable[[float], object] | None
) -> Callable[[float, float], None]:
    """Return a function that reports the source's share read, mapped to [start, start + width]."""

    def report(start: float, width: float) -> None:
        if progress is not None:
            progress(start + width * source.share_read)

    return report
