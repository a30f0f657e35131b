"""Excel workbooks (xlsx), read row by row where openpyxl is installed."""

from __future__ import annotations

import warnings
import zipfile
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import MissingExtraError, UsageError
from genrec_edge.storage.numbers import is_plain_number
from genrec_edge.storage.parquet_table import plain_cell
from genrec_edge.storage.sqlite_table import choose_table
from genrec_edge.storage.table_source import TableSource, distinct_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_DAMAGED = (
    zipfile.BadZipFile,
    KeyError,
    ValueError,
    OSError,
    AttributeError,
    TypeError,
    SyntaxError,
)  # ParseError is one


def is_workbook(path: Path) -> bool:
    """Whether a file is a zip archive that Excel calls a workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


class XlsxTable(TableSource):
    """The rows of one sheet, the first of them its header. Of formulas, the values that Excel stored are read."""

    def __init__(self, path: Path, table: str | None, columns: Sequence[str] | None) -> None:
        super().__init__(path, "row")
        try:
            import openpyxl  # noqa: F401 - optional
        except ModuleNotFoundError as e:
            message = f"{path} is an Excel workbook, which needs openpyxl"
            raise MissingExtraError(message, hint="pip install 'genrec-edge[xlsx]', or save the sheet as CSV") from e
        with self._workbook() as workbook:
            filled = [sheet.title for sheet in workbook.worksheets if any(_filled(sheet))]
            self._sheet = choose_table(path, filled, table)
            _, first = next(_filled(workbook[self._sheet]))
        self._skips_header = columns is None
        names = ["" if cell is None else str(cell) for cell in first] if columns is None else list(columns)
        self.columns = distinct_names(names)
        self.has_number_in_header = columns is None and any(is_plain_number(name.strip()) for name in names)

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        """Yield (number of the row in the sheet, values)."""
        with self._workbook() as workbook:
            sheet = workbook[self._sheet]
            n_rows = sheet.max_row or 0
            filled = _filled(sheet)
            if self._skips_header:
                next(filled)
            for number, cells in filled:
                if len(cells) > len(self.columns):
                    what = f"{len(cells)} cells, but the header names {len(self.columns)}"
                    raise self.error(number, what, "give every column a name in the first row")
                if not number & 1023 and n_rows:
                    self.share_read = min(number / n_rows, 1.0)
                yield number, cells

    @contextmanager
    def _workbook(self) -> Iterator[Any]:
        import openpyxl

        try:
            with self.path.open("rb") as file:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # about styles
                    workbook = openpyxl.load_workbook(file, read_only=True, data_only=True)
                with closing(workbook):
                    yield workbook
        except _DAMAGED as e:
            raise UsageError(f"cannot read the workbook {self.path} ({e})", hint="save the sheet as CSV") from e


def _filled(sheet: Any) -> Iterator[tuple[int, list[object]]]:
    """Yield (number, cells) of the rows that are not empty; empty cells at the end are left out."""
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = [plain_cell(cell) for cell in row]
        while cells and cells[-1] in {None, ""}:
            cells.pop()
        if cells:
            yield number, cells
