"""A catalog of nine films that each test may change, and what is in a catalog file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.catalog.writer import build

if TYPE_CHECKING:
    from pathlib import Path

NINE_FILMS_CSV = """movie_id,title,genres,length
007,"Matrix, The (1999)",Action|Sci-Fi,136
2,Alien (1979),Horror|Sci-Fi,117
3,Aliens (1986),Action,137
4,Heat (1995),Crime,170
5,Heat (1986),,101
6,HEAT (1995),Crime,
7,,Drama,90
8,Am&eacute;lie (2001),Comedy|Romance,122
9,8½,Drama,138
10,"\u202e2001: A Space Odyssey (1968)",Sci-Fi,149
"""
"""Nine films and a row without a title: articles, years, entities, equal titles, invisible characters."""

MESSY_CSV = """id,title,genres
007,"Matrix, The (1999)",Action|Sci-Fi
2,Heat (1995),Crime
3,Heat (1986),Crime
4,"\x1b[31mRed\x07 & Blue",
5,,Drama
"""
"""Two films of one title, control characters, and a row without a title."""


@pytest.fixture
def nine_films_path(tmp_path: Path) -> Path:
    """Returns a catalog of `NINE_FILMS_CSV`, beside the file `nine_films.csv`, for this test alone."""
    source_path = tmp_path / "nine_films.csv"
    source_path.write_text(NINE_FILMS_CSV, encoding="utf-8")
    build(source_path, tmp_path / "nine_films.db")
    return tmp_path / "nine_films.db"


@pytest.fixture
def messy_catalog_path(tmp_path: Path) -> Path:
    """Returns a catalog of `MESSY_CSV`, beside the file `s.csv`, for this test alone."""
    (tmp_path / "s.csv").write_text(MESSY_CSV, encoding="utf-8")
    build(tmp_path / "s.csv", tmp_path / "c.db")
    return tmp_path / "c.db"


def catalog_content(path: Path) -> list[tuple[Any, ...]]:
    """Return all rows of a catalog after checks of the file and of its full-text index."""
    with closing(sqlite3.connect(path)) as connection:
        tables = ("SELECT * FROM items", "SELECT * FROM item_values", "SELECT rowid, title FROM items_fts")
        rows = [row for table in tables for row in connection.execute(table)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.execute("INSERT INTO items_fts(items_fts, rank) VALUES ('integrity-check', 1)")
    return rows
