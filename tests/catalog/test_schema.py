"""The catalog file: revisions, changes, full text, and everything that can be wrong with a file."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database

from genrec_edge.catalog.edit import remove
from genrec_edge.catalog.reader import Catalog
from genrec_edge.errors import CatalogError, GenRecError, UsageError
from tests.support.catalogs import catalog_content

if TYPE_CHECKING:
    from pathlib import Path


def test_the_full_text_index_is_one_that_sqlite_utils_knows(nine_films_path: Path) -> None:
    database = Database(nine_films_path)
    try:
        assert database.table("items").detect_fts() == "items_fts"
        assert [row["id"] for row in database.table("items").search("matrix")] == ["007"]
    finally:
        database.close()


def test_an_edit_by_any_program_changes_the_revision(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog, closing(sqlite3.connect(nine_films_path)) as other:
        seen = {catalog.revision}
        for statement in (
            "UPDATE items SET title = 'Heat II' WHERE id = '4'",
            "DELETE FROM items WHERE id = '2'",
            "INSERT INTO items(id, title, key) VALUES ('x', 'New', 'new')",
        ):
            other.execute(statement)
            other.commit()
            seen.add(catalog.revision)
        assert len(seen) == 4
        assert catalog.n_items == 9
        assert [item.title for item in catalog.search("heat ii")] == ["Heat II"]
        assert catalog.search("alien", prefix=False) == []
        assert catalog.filter("genre = 'Horror'").size == 0


def test_changes_since_a_revision_are_its_rows(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog, closing(sqlite3.connect(nine_films_path)) as other:
        first = catalog.revision
        other.execute("""UPDATE items SET title = 'Heat II' WHERE "row" = 4""")
        other.commit()
        second = catalog.revision
        other.execute("""DELETE FROM items WHERE "row" = 2""")
        other.execute("""UPDATE items SET "row" = 20 WHERE "row" = 3""")
        other.commit()
        for revision, rows in ((first, [2, 3, 4, 20]), (second, [2, 3, 20]), (catalog.revision, [])):
            changed = catalog.changed_since(revision)
            assert changed is not None
            assert changed.tolist() == rows
            assert [row for row, _, _ in catalog.titles_of(changed)] == [row for row in rows if row in {4, 20}]
        assert catalog.changed_since("0123456789abcdef") is None


def damaged(kind: str, path: Path) -> None:
    data = bytearray(path.read_bytes())
    if kind == "application id":
        data[68:72] = b"\0\0\0\1"
    elif kind == "version":
        data[60:64] = (99).to_bytes(4, "big")
    elif kind == "cut":
        del data[-5000:]
    elif kind == "short":
        del data[50:]
    elif kind == "text":
        data = bytearray(b"title\nHeat\n")
    elif kind == "zeroed":
        data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("application id", "database of another program"),
        ("version", "has format 99; this program knows formats up to 1"),
        ("cut", "is cut off"),
        ("short", "is not a catalog"),
        ("text", "is not a catalog"),
        ("zeroed", "damaged"),
    ],
)
def test_files_that_are_not_catalogs(kind: str, message: str, nine_films_path: Path) -> None:
    damaged(kind, nine_films_path)
    with pytest.raises(CatalogError, match=message) as error:
        Catalog.open(nine_films_path)
    assert error.value.exit_code == 6
    assert "\n" not in error.value.message
    assert error.value.hint


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such catalog"):
        Catalog.open(tmp_path / "none.db")
    with pytest.raises(UsageError, match="cannot read"):
        Catalog.open(tmp_path)
    with pytest.raises(UsageError, match="no such catalog"):
        remove(tmp_path / "none.db", ["1"])


def test_random_damage_raises_our_own_errors_alone(nine_films_path: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    whole = nine_films_path.read_bytes()
    path = tmp_path / "damaged.db"
    n_noticed = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(40):
            data[rng.randrange(100, len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            with Catalog.open(path) as catalog:
                for row, _, _ in catalog.titles():
                    catalog.items([row])
                catalog.search("heat")
                catalog.filter("genre = 'Drama' AND length > 100")
        except (GenRecError, KeyError):
            n_noticed += 1
    assert n_noticed > 20


def test_an_unfinished_journal_is_rolled_back_by_the_next_reader(nine_films_path: Path, tmp_path: Path) -> None:
    copy_path = tmp_path / "copy.db"
    with closing(sqlite3.connect(nine_films_path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE items SET title = title || hex(randomblob(2000))")
        shutil.copy(nine_films_path, copy_path)
        shutil.copy(f"{nine_films_path}-journal", f"{copy_path}-journal")
        connection.execute("ROLLBACK")
    with Catalog.open(copy_path) as catalog:
        assert max(len(title) for _, title, _ in catalog.titles()) < 100
    assert catalog_content(copy_path) == catalog_content(nine_films_path)
