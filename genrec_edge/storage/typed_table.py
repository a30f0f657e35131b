"""A table as its values: the one reader for items, interactions and histories in files of any format.

    table = read_table(Path("events.csv"))
    for number, values in table.rows():  # the number is that of the line, for messages
        ...

`open_source` opens the file, `infer_columns` decides over all of it what each column holds, and `Column.value`,
`Column.values` and `Column.id` read its cells. Use those directly where a column has a role of its own, as
`catalog/rows.py` does: an id is never a number with marks, and a year has rules of its own (`cells.parse_year`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.storage.infer_columns import Choices, infer_columns
from genrec_edge.storage.tables import TableSource, open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from genrec_edge.records import Value
    from genrec_edge.storage.columns import Column

    Cell = Value | list[str]
    """A value of a table: None, a whole number, a number, a text, or the values of a list."""


@dataclass(frozen=True, slots=True)
class TypedTable:
    """A file whose columns are known. `source.error(number, what)` makes an error about a row."""

    source: TableSource
    columns: Sequence[Column]

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        """Yield (number, values) for each row, in the order of `columns`; the file is read again, as a stream.

        Raises:
            UsageError: a row cannot be read, or holds a text that is not valid; the message has its number.
        """
        width = len(self.columns)
        for number, cells in self.source.rows():
            yield (
                number,
                [
                    self._read(number, column, cell)
                    for column, cell in zip(self.columns, padded(cells, width), strict=True)
                ],
            )

    def _read(self, number: int, column: Column, cell: object) -> Cell:
        try:
            return column.value(cell) if column.separator is None else column.values(cell)
        except ValueError as e:
            raise self.source.error(number, f"{column.name}: {e}") from e


def read_table(
    path: Path,
    *,
    table: str | None = None,
    names: Sequence[str] | None = None,
    choices: Choices | None = None,
    on_progress: Callable[[float], object] | None = None,
) -> TypedTable:
    """Open a table and decide what its columns hold; the whole file is read once for it, as a stream. Read-only.

    Rules: a cell that is empty or "(no genres listed)" holds nothing. Words such as "NA", "null" and "-" do where the
    other cells of the column are numbers or dates; among texts they are texts. Numbers may have marks for thousands, a
    decimal comma, a currency or a percent sign (`storage/numbers.py`); a column is of numbers if all of its cells are,
    in one way only. `Column.decisions` says what was not obvious.

    Args:
        path: CSV, TSV, JSON, SQLite, Parquet or xlsx; text may be packed with gzip, bzip2, xz or zip.
        table: what to read where there are several tables, sheets or files in an archive.
        names: the names of the columns of a text without a header. `column_roles.require_header` finds out whether one
            is missing.
        choices: what the caller knows of columns.
        on_progress: called with the share read, 0..1.

    Raises:
        UsageError: the file or a row of it cannot be read; the message has the number of the row.
        MissingExtraError: Parquet or xlsx without the library for it.
    """
    source = open_source(path, table, names)
    report = None if on_progress is None else lambda: on_progress(source.share_read)
    return TypedTable(source, infer_columns(source, choices, report))


def padded(cells: list[object], width: int) -> list[object]:
    """Return the cells of a row with None for those that are missing at the end."""
    return cells if len(cells) >= width else [*cells, *[None] * (width - len(cells))]
