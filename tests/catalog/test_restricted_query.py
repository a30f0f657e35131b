"""A connection that is restricted to reading items."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.restricted_query import restrict
from genrec_edge.catalog.where_tokens import FUNCTIONS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "query",
    [
        "SELECT value FROM meta",
        "SELECT name FROM sqlite_master",
        "PRAGMA table_info(items)",
        "ATTACH ':memory:' AS x",
        "DELETE FROM items",
        "SELECT load_extension('x') FROM items",
        "SELECT hex(title) FROM items",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t",
    ],
)
def test_the_authorizer_refuses_other_statements(query: str, films_path: Path) -> None:
    with closing(sqlite3.connect(films_path)) as connection:
        restrict(connection, FUNCTIONS, 1_000_000, lambda: False)
        with pytest.raises(sqlite3.DatabaseError, match=r"prohibited|not authorized"):
            connection.execute(query)
