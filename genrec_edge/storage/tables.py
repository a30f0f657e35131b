"""Opens the table in a file, whatever its format, as a stream of rows.

Formats are recognised by the content: CSV and other text with a delimiter, JSON, SQLite, Parquet, Excel workbooks. Text
may be packed with gzip, bzip2, xz or zip. Knows nothing of catalogs; `typed_table.py` finds what the cells are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError
from genrec_edge.storage import parquet_table, sqlite_table
from genrec_edge.storage.delimited_table import DelimitedTable
from genrec_edge.storage.json_table import JsonTable
from genrec_edge.storage.table_source import TableSource, distinct_names
from genrec_edge.storage.text_files import first_bytes, lines_of, open_text
from genrec_edge.storage.xlsx_table import XlsxTable, is_workbook

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TableSource", "distinct_names", "open_source"]

_BINARY = (sqlite_table.MAGIC, parquet_table.MAGIC, b"PK\x03\x04", b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh")


def open_source(path: Path, table: str | None = None, columns: Sequence[str] | None = None) -> TableSource:
    """Return the source of a file, recognised by its first bytes. Read-only.

    Args:
        path: the file; its name does not matter.
        table: what to read where there are several: the table of an SQLite file, the sheet of a workbook, the file in a
            zip archive.
        columns: the names of the columns of a file whose first row is data already; None where it has a header.

    Raises:
        UsageError: no such file, an empty file, or a missing header or table.
        MissingExtraError: the format needs a library that is not installed.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file but {_kind(path)}", hint="name a file")
    if not path.is_file():
        raise UsageError(f"no such file: {path}", hint="check its name")
    try:
        with path.open("rb") as raw:
            magic = raw.read(len(sqlite_table.MAGIC))
    except OSError as e:
        message = f"cannot read {path} ({e.strerror})"
        raise UsageError(message, hint="check its permissions") from e
    if magic == sqlite_table.MAGIC:
        source: TableSource = sqlite_table.SqliteTable(path, table)
    elif magic.startswith(parquet_table.MAGIC):
        source = parquet_table.ParquetTable(path)
    elif magic.startswith(b"PK") and is_workbook(path):
        return XlsxTable(path, table, columns)
    else:
        return _open_text_table(path, table, columns)
    if columns is not None:
        raise UsageError(f"{path} has names of columns already", hint="leave out `columns`")
    return source


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a pipe or a device"


def _open_text_table(path: Path, member: str | None, columns: Sequence[str] | None) -> TableSource:
    head, is_packed = first_bytes(path, len(sqlite_table.MAGIC), member)
    if is_packed and head.startswith(_BINARY):
        raise UsageError(f"{path} holds a file that is not text", hint="unpack it first")
    with open_text(path, None, member) as (text, _):
        first_line = next((line for line in lines_of(text, path) if line.strip()), "")
    if not first_line:
        raise UsageError(f"{path} is empty", hint="choose a file with rows")
    if first_line.lstrip()[0] not in "[{":
        return DelimitedTable(path, first_line, columns, member)
    if columns is not None:
        raise UsageError(f"{path} has names of columns already", hint="leave out `columns`")
    return JsonTable(path, member, is_array=first_line.lstrip()[0] == "[")
