"""Items by any of their names: the index follows the catalog, is kept for large ones, and is never wrong."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.catalog import edit, name_index
from genrec_edge.catalog.loose_titles import ALIAS, PART, TITLE
from genrec_edge.catalog.name_index import NameFinder
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build

if TYPE_CHECKING:
    from pathlib import Path

FILMS: list[dict[str, Any]] = [
    {"id": "a", "title": "Spirited Away", "year": 2001, "aliases": ["Sen to Chihiro", "Chihiro"]},
    {"id": "b", "title": "Alien: Covenant", "year": 2017, "aliases": []},
    {"id": "c", "title": "Alien", "year": 1979, "aliases": []},
    {"id": "d", "title": "Rocky II", "year": 1979, "aliases": ["Rocky Returns"]},
]


def make(folder: Path, films: list[dict[str, Any]]) -> Path:
    (folder / "c.jsonl").write_text("".join(json.dumps(film) + "\n" for film in films))
    build(folder / "c.jsonl", folder / "c.db")
    return folder / "c.db"


def named(finder: NameFinder, key: str) -> list[tuple[str, int]]:
    return [(item.id, kind) for item, kind in finder.named(key)]


@pytest.mark.parametrize("is_kept", [True, False])
def test_items_are_found_by_all_names_and_the_index_follows(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_kept: bool
) -> None:
    monkeypatch.setattr(name_index, "_KEPT_FROM_ITEMS", 1 if is_kept else 1000)
    path = make(tmp_path, FILMS)
    with Catalog.open(path) as catalog:
        finder = NameFinder(catalog)
        assert named(finder, "senchihiro") == []
        assert named(finder, "sentochihiro") == named(finder, "chihiro") == [("a", ALIAS)]
        assert named(finder, "alien") == [("c", TITLE), ("b", PART)]
        assert named(finder, "rocky2") == [("d", TITLE)]
        assert name_index.index_path(catalog).exists() == is_kept
        # Another program changes titles, and items come and go.
        edit.add_item(path, "Alien: Romulus", id="e", year=2024, columns={"aliases": "Romulus Rising"})
        edit.remove(path, ["b"])
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE items SET title = 'Rocky III' WHERE id = 'd'")
            connection.commit()
        assert named(finder, "alien") == [("c", TITLE), ("e", PART)]
        assert named(finder, "romulusrising") == [("e", ALIAS)]
        assert (named(finder, "rocky2"), named(finder, "rocky3")) == ([], [("d", TITLE)])
        assert named(NameFinder(catalog), "alien") == named(finder, "alien")
        assert named(finder, "rockyreturns") == [("d", ALIAS)]


def test_many_changes_make_a_new_index(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_index, "_KEPT_FROM_ITEMS", 1)
    monkeypatch.setattr(name_index, "_MAX_CHANGED", 1)
    path = make(tmp_path, FILMS)
    with Catalog.open(path) as catalog:
        first = name_index.load(catalog, catalog.revision)
        edit.add_item(path, "Heat", id="f")
        assert name_index.load(catalog, catalog.revision).revision == first.revision
        edit.add_item(path, "Ran", id="g")
        assert name_index.load(catalog, catalog.revision).revision == catalog.revision != first.revision
        assert named(NameFinder(catalog), "ran") == [("g", TITLE)]


def test_a_damaged_index_is_made_again_and_one_of_another_catalog_says_nothing(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(name_index, "_KEPT_FROM_ITEMS", 1)
    path = make(tmp_path, FILMS)
    with Catalog.open(path) as catalog:
        name_index.load(catalog, catalog.revision)
        rows_path = name_index.index_path(catalog) / "rows.npy"
        rows_path.write_bytes(rows_path.read_bytes()[:-8] + b"\x07" + bytes(7))
        assert named(NameFinder(catalog), "alien") == [("c", TITLE), ("b", PART)]
        assert "the index of names" in caplog.text
        kept = name_index.load(catalog, catalog.revision)
        # Rows that are wrong, or gone, are items with other names: they are looked at again.
        finder = NameFinder(catalog)
        finder._index = (catalog.revision, type(kept)(kept.revision, kept.checksums, kept.rows[::-1], kept.kinds))
        found = [pair for key in ("alien", "chihiro", "rocky2") for pair in named(finder, key)]
        assert set(found) <= {("a", ALIAS), ("b", PART), ("c", TITLE), ("d", TITLE)}


@pytest.mark.parametrize("column", ["aliases", "AKA", "original_title", "Other titles"])
def test_columns_of_other_titles(own_home: Path, tmp_path: Path, column: str) -> None:
    films = [
        {"id": str(n), "title": f"Film {n}", column: other} for n, other in enumerate(["Gisaengchung", "Oldeuboi"])
    ]
    with Catalog.open(make(tmp_path, films)) as catalog:
        assert named(NameFinder(catalog), "gisaengchung") == [("0", ALIAS)]


def test_a_name_of_thousands_has_whole_titles_first(own_home: Path, tmp_path: Path) -> None:
    goods = [{"id": f"{n:05}", "title": f"Shirt: colour number {n}"} for n in range(1500)]
    goods.append({"id": "z", "title": "Shirt"})
    with Catalog.open(make(tmp_path, goods)) as catalog:
        found = NameFinder(catalog).named("shirt")
        assert (found[0][0].id, found[0][1], len(found)) == ("z", TITLE, 1000)
