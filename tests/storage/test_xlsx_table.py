"""Excel workbooks: sheets, types, and files that are damaged."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import MissingExtraError, UsageError
from genrec_edge.storage.tables import open_source
from genrec_edge.storage.typed_table import read_table

if TYPE_CHECKING:
    from pathlib import Path

openpyxl = pytest.importorskip("openpyxl")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Films"
    for row in (
        [None],
        ["id", "title", "released", "runtime", "note"],
        [1, "Alien", datetime(1979, 5, 25), 117, None],
        [],
        [2, "Heat", datetime(1995, 12, 15), "n/a", "x"],
    ):
        sheet.append(row)
    workbook.create_sheet("Empty")
    workbook.save(tmp_path / "films.xlsx")
    return tmp_path / "films.xlsx"


def test_values(path: Path) -> None:
    table = read_table(path)
    assert list(table.rows()) == [
        (3, [1, "Alien", "1979-05-25", 117, None]),
        (5, [2, "Heat", "1995-12-15", None, "x"]),
    ]


def test_a_sheet_is_chosen(path: Path) -> None:
    workbook = openpyxl.load_workbook(path)
    workbook.create_sheet("Books").append(["title"])
    workbook.save(path)
    with pytest.raises(UsageError, match="more than one table; it holds: Films, Books"):
        open_source(path)
    assert open_source(path, "Books").columns == ["title"]


def test_rows_wider_than_the_header_and_damaged_files(path: Path) -> None:
    workbook = openpyxl.load_workbook(path)
    workbook["Films"].append([3, "x", None, None, None, "beyond"])
    workbook.save(path)
    with pytest.raises(UsageError, match="row 6: 6 cells, but the header names 5"):
        list(open_source(path).rows())
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UsageError, match=r"cannot be unpacked|cannot read"):
        open_source(path)


def test_openpyxl_is_an_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match="needs openpyxl"):
        open_source(path)
