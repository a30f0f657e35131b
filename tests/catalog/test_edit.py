"""Adding and removing items: all of them or none, also when the process is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog.edit import add, add_item, remove
from genrec_edge.catalog.reader import Catalog
from genrec_edge.coordinates import CatalogRow
from genrec_edge.errors import CatalogError, LockedError, UsageError
from genrec_edge.records import Item
from tests.support.catalogs import catalog_content

if TYPE_CHECKING:
    from pathlib import Path


def test_add_and_remove_leave_the_catalog_as_it_was(nine_films_path: Path) -> None:
    before = catalog_content(nine_films_path)
    report = add_item(nine_films_path, "New &amp; Old (2020)", id="n", columns={"GENRES": "Crime, Drama", "length": 5})
    assert report.n_items == 1
    with Catalog.open(nine_films_path) as catalog:
        item = catalog.by_ids(["n"])["n"]
        assert item == Item(CatalogRow(10), "n", "New & Old", 2020, {"genres": "Crime, Drama", "length": 5})
        assert list(catalog.filter("genre = 'Drama' AND genre = 'crime'")) == [10]
        assert catalog.search("new old") == [item]
    assert remove(nine_films_path, ["n", "n"]) == 1
    assert catalog_content(nine_films_path) == before


def test_added_items_without_an_id_are_numbered(nine_films_path: Path) -> None:
    add_item(nine_films_path, "One")
    add_item(nine_films_path, "Two", year=1999)
    with Catalog.open(nine_films_path) as catalog:
        assert catalog.by_ids(["11"])["11"].title == "One"
        assert catalog.by_ids(["12"])["12"].year == 1999


@pytest.mark.slow
def test_a_file_is_added_whole_or_not_at_all(nine_films_path: Path, tmp_path: Path) -> None:
    before = catalog_content(nine_films_path)
    more_path = tmp_path / "more.jsonl"
    records = [{"id": f"n{i}", "title": f"New {i}", "genres": ["Drama"]} for i in range(5000)]
    more_path.write_text("".join(json.dumps(r) + "\n" for r in [*records, {"id": "007", "title": "Again"}]))
    with pytest.raises(UsageError, match="line 5001: 'Again' has the id '007', as has the item 'Matrix, The'"):
        add(nine_films_path, more_path)
    assert catalog_content(nine_films_path) == before
    more_path.write_text("".join(json.dumps(r) + "\n" for r in records))
    assert add(nine_films_path, more_path).n_items == 5000
    with Catalog.open(nine_films_path) as catalog:
        assert catalog.n_items == 5009
        assert catalog.filter("genre = 'Drama'").size == 5001


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"title": "A", "id": "2"}, "has the id '2', as has the item 'Alien'"),
        ({"title": "A", "columns": {"gender": "x"}}, "no column 'gender'; its columns are: genres, length"),
        ({"title": " \u200b"}, "no title"),
        ({"title": "A", "id": ""}, "every item needs an id"),
        ({"title": "A", "year": "soon"}, "`year` is 'soon', which is no year"),
        ({"title": "A", "year": 10**6}, "`year` is 1000000, which is no year"),
        ({"title": "A", "columns": {"Year": 1990}}, "'Year' is not a value among others"),
        ({"title": "A", "columns": {"key": "a"}}, "no column 'key'; its columns are"),
        ({"title": "A", "columns": {"length": b"117"}}, "length: bytes are no value"),
        ({"title": "A", "columns": 5}, "`columns` is 5"),
        ({"title": "A", "columns": {5: 1}}, "`columns` is {5: 1}"),
    ],
)
def test_items_that_cannot_be_added(arguments: dict[str, Any], message: str, nine_films_path: Path) -> None:
    before = catalog_content(nine_films_path)
    with pytest.raises(UsageError, match=message):
        add_item(nine_films_path, **arguments)
    assert catalog_content(nine_films_path) == before


@pytest.mark.parametrize("length", [117, 117.0, np.int64(117), np.float32(117), Decimal(117)])
def test_numbers_of_other_libraries_are_numbers(length: Any, nine_films_path: Path) -> None:
    add_item(nine_films_path, "Short", id="s", columns={"length": length})
    with Catalog.open(nine_films_path) as catalog:
        assert catalog.by_ids(["s"])["s"].columns["length"] == 117


def test_a_catalog_without_row_numbers_left(nine_films_path: Path) -> None:
    with closing(sqlite3.connect(nine_films_path)) as connection, connection:
        connection.execute("UPDATE items SET \"row\" = 9223372036854775807 WHERE id = '2'")
    with pytest.raises(CatalogError, match="no row numbers left"):
        add_item(nine_films_path, "One more")


def test_items_that_cannot_be_removed(nine_films_path: Path) -> None:
    before = catalog_content(nine_films_path)
    with pytest.raises(UsageError, match="no item with the id 'x' and 1 more"):
        remove(nine_films_path, ["2", "x", "y"])
    with Catalog.open(nine_films_path) as catalog:
        ids = [item.id for item in catalog.items(range(1, 10))]
    with pytest.raises(UsageError, match="without items"):
        remove(nine_films_path, ids)
    assert catalog_content(nine_films_path) == before


def test_a_second_writer_waits_and_then_fails(nine_films_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrec_edge.storage.sqlite.BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(nine_films_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedError, match="is being written by another process"):
            remove(nine_films_path, ["2"])
        with Catalog.open(nine_films_path) as catalog:
            assert catalog.n_items == 9


KILLED_ADD = """
import sys
from genrec_edge.catalog.edit import add
add(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_killed_writers_leave_all_or_nothing(nine_films_path: Path, tmp_path: Path) -> None:
    more_path = tmp_path / "more.csv"
    more_path.write_text("id,title\n" + "".join(f"n{i},New film number {i}\n" for i in range(60_000)))
    whole = nine_films_path.read_bytes()
    path = tmp_path / "victim.db"
    counts = set()
    for delay_s in (0.7, 0.9, 1.1, 1.3):
        path.write_bytes(whole)
        process = subprocess.Popen([sys.executable, "-c", KILLED_ADD, path, more_path], cwd=os.getcwd())  # noqa: PTH109
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Catalog.open(path) as catalog:
            counts.add(catalog.n_items)
        catalog_content(path)
    assert counts <= {9, 60_009}
