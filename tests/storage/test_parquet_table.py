"""Parquet files, with the types that only they have."""

from __future__ import annotations

import sys
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import MissingExtraError, UsageError
from genrec_edge.storage.tables import open_source
from genrec_edge.storage.typed_table import read_table

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [
        {
            "id": i,
            "title": f"Film {i}",
            "released": date(1995, 11, 22),
            "seen": datetime(2020, 1, 2, 3, 4, 5),
            "price": Decimal("1.50"),
            "genres": ["Drama", "War"],
            "score": float("nan") if i == 1 else 7.5,
            "studio": {"id": 1, "name": "A24"},
        }
        for i in range(1, 10_001)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "films")
    return tmp_path / "films"


def test_values(path: Path) -> None:
    table = read_table(path)
    rows = list(table.rows())
    assert rows[0] == (
        1,
        [1, "Film 1", "1995-11-22", "2020-01-02T03:04:05", 1.5, ["Drama", "War"], None, "A24"],
    )
    assert rows[-1][0] == len(rows) == 10_000


def test_damaged_files(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cannot read the Parquet file"):
        open_source(path)
    path.write_bytes(whole[:200] + bytes(len(whole) - 20_000) + whole[200 + len(whole) - 20_000 :])
    with pytest.raises(UsageError, match=r"row 1: cannot be read|cannot read"):
        list(open_source(path).rows())


def test_pyarrow_is_an_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="needs pyarrow"):
        open_source(path)
