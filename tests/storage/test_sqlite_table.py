"""Tables of foreign SQLite files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage.infer_columns import infer_columns
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "films.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE films(id INTEGER, title TEXT, runtime TEXT, poster BLOB)")
        rows = [(1, "Alien", "117", b"\x89PNG"), (2, "Heat", "NA", None)]
        connection.executemany("INSERT INTO films VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    return path


def test_bytes_are_left_out_and_said(path: Path) -> None:
    source = open_source(path)
    _, _, runtime, poster = infer_columns(source)
    assert (runtime.kind, runtime.n_missing) == ("INTEGER", 1)
    assert poster.is_empty
    assert poster.decisions == ("1 cells of bytes are left out",)
    assert [cells[3] for _, cells in source.rows()] == [b"\x89PNG", None]


def test_a_file_without_tables(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection:
        connection.execute("CREATE TABLE t(x)")
        connection.execute("DROP TABLE t")
    with pytest.raises(UsageError, match="has no table; it holds: none"):
        open_source(tmp_path / "e.db")
