"""Parquet files, read batch by batch where pyarrow is installed."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import MissingExtraError, UsageError
from genrec_edge.storage.table_source import TableSource, distinct_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"PAR1"
_BATCH_ROWS = 4096


class ParquetTable(TableSource):
    """The rows of a Parquet file; the index that pandas adds is a column like any other."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "row")
        try:
            import pyarrow as pa  # noqa: F401 - optional
        except ModuleNotFoundError as e:
            message = f"{path} is a Parquet file, which needs pyarrow"
            raise MissingExtraError(message, hint="pip install 'genrec-edge[parquet]'") from e
        self.columns = distinct_names(list(self._opened().schema_arrow.names))

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        """Yield (number of the row, values)."""
        import pyarrow as pa

        file = self._opened()
        n_rows, number = max(file.metadata.num_rows, 1), 0
        try:
            for batch in file.iter_batches(_BATCH_ROWS):
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, [plain_cell(cell) for cell in cells]
                self.share_read = number / n_rows
        except (pa.ArrowException, OSError, ValueError) as e:
            raise self.error(number + 1, f"cannot be read ({e})", "get the file again") from e

    def _opened(self) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            return parquet.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as e:
            raise UsageError(f"cannot read the Parquet file {self.path} ({e})", hint="get the file again") from e


def plain_cell(cell: object) -> object:
    """Return a cell as JSON would have it: times as ISO 8601 text, decimals as numbers, maps as objects.

    >>> plain_cell(datetime(1995, 11, 22)), plain_cell(Decimal("1.50"))
    ('1995-11-22', 1.5)
    """
    if isinstance(cell, datetime) and cell.tzinfo is None and cell.time() == time():
        return cell.date().isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return int(cell) if cell.is_finite() and cell == cell.to_integral_value() else float(cell)
    if isinstance(cell, dict):
        return {str(name): plain_cell(value) for name, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [plain_cell(value) for value in cell]
    return cell if cell is None or isinstance(cell, str | int | float | bytes) else str(cell)
