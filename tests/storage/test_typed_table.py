"""One table, written in every format, comes back as the same values."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage.typed_table import read_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ["id", "title", "runtime", "score", "genres", "country"]
ROWS: list[list[Any]] = [
    ["a1", "Alien", 117, 8.5, ["Horror", "Sci-Fi"], "UK"],
    ["a2", "Heat", None, 8.3, [], "Korea, South"],
    ["a3", "Üben", 9, None, ["Drama"], None],
]


def plain(cell: object) -> object:
    """Return a cell as it stands in a text: missing numbers as people write them."""
    return "|".join(cell) if isinstance(cell, list) else cell


def write_csv(path: Path, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(NAMES)
        for row in ROWS:
            cells = [plain(cell) for cell in row]
            writer.writerow(["NA" if cell is None and i in {2, 3} else cell for i, cell in enumerate(cells)])


def write_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in ROWS))


def write_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t(id, title, runtime, score, genres, country)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", [[plain(c) for c in row] for row in ROWS])
        connection.commit()


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist([dict(zip(NAMES, row, strict=True)) for row in ROWS]), path)


def write_xlsx(path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    workbook = openpyxl.Workbook()
    for row in [NAMES, *([plain(cell) for cell in row] for row in ROWS)]:
        workbook.active.append(row)
    workbook.save(path)


def write_packed(path: Path) -> None:
    write_csv(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


def write_zip(path: Path) -> None:
    write_csv(path, ";")
    data = path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/films.csv", data)
        archive.writestr("__MACOSX/folder/._films.csv", b"\0")


@pytest.mark.slow
@pytest.mark.parametrize(
    "write",
    [
        write_csv,
        lambda path: write_csv(path, "\t"),
        write_lines,
        lambda path: path.write_text(json.dumps([dict(zip(NAMES, row, strict=True)) for row in ROWS])),
        write_sqlite,
        write_parquet,
        write_xlsx,
        write_packed,
        write_zip,
    ],
)
def test_every_format_gives_the_same_values(write: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "whatever.bin"
    write(path)
    shares: list[float] = []
    table = read_table(path, on_progress=shares.append)
    assert [values for _, values in table.rows()] == ROWS
    assert [column.type_name for column in table.columns] == ["text", "text", "whole number", "number", "list", "text"]


def test_archives_of_several_files(tmp_path: Path) -> None:
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("links.csv", "id,imdb\n1,2\n")
        archive.writestr("movies.csv", "id,title\n1,Heat\n")
        archive.writestr("packed.csv.gz", gzip.compress(b"id\n1\n"))
    with pytest.raises(
        UsageError, match=r"more than one file; it holds: links.csv, movies.csv, packed.csv.gz"
    ) as caught:
        read_table(path)
    assert "`table`" in caught.value.hint
    assert list(read_table(path, table="movies.csv").rows()) == [(2, [1, "Heat"])]
    with pytest.raises(UsageError, match=r"has no file x.csv"):
        read_table(path, table="x.csv")
    with pytest.raises(UsageError, match="holds a file that is not text"):
        read_table(path, table="packed.csv.gz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UsageError, match="cannot be unpacked"):
        read_table(path, table="movies.csv")


def test_a_text_that_is_not_valid_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "x"}\n{"a": "\\ud800"}\n')
    with pytest.raises(UsageError, match=r"line 2: a: .* surrogate"):
        list(read_table(path).rows())


def test_names_for_a_file_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_text("1\t7\t5\t1600000010\n2\t8\t-\t1600000020\n")
    table = read_table(path, names=["user", "item", "rating", "timestamp"])
    assert list(table.rows()) == [(1, [1, 7, 5, 1600000010]), (2, [2, 8, None, 1600000020])]
