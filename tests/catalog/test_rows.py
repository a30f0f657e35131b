"""Rows of a source become rows of a catalog: names of columns, and ids that are not unique."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.edit import add
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_file_a_catalog_was_made_of_can_be_added_to_it(tmp_path: Path) -> None:
    source_path = tmp_path / "odd.csv"
    source_path.write_text("id,title,key,year,rowid\n1,A,k,1999-01-02,r\n", encoding="utf-8")
    assert build(source_path, tmp_path / "c.db").columns == ("key_2", "year_2", "rowid_2")
    source_path.write_text("id,title,key,year,rowid\n2,B,k,,\n", encoding="utf-8")
    add(tmp_path / "c.db", source_path)
    with Catalog.open(tmp_path / "c.db") as catalog:
        assert [item.columns for item in catalog.items([1, 2])] == [
            {"key_2": "k", "year_2": "1999-01-02", "rowid_2": "r"},
            {"key_2": "k", "year_2": None, "rowid_2": None},
        ]
        assert [item.year for item in catalog.items([1, 2])] == [1999, None]


def test_equal_ids_far_apart_are_found(tmp_path: Path) -> None:
    source_path = tmp_path / "s.csv"
    source_path.write_text("id,title\n" + "".join(f"{i % 4500},t{i}\n" for i in range(4501)), encoding="utf-8")
    with pytest.raises(UsageError, match="line 4502: 't4500' has the id '0', as has the item 't0'"):
        build(source_path, tmp_path / "c.db")
