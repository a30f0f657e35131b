"""The catalog: building, reading, changing, and everything that can be wrong with a file."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from genrec_edge.catalog import titles, where
from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.edit import add, add_item, remove
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.coordinates import CatalogRow
from genrec_edge.errors import CatalogError, GenRecError, LockedError, UsageError
from genrec_edge.records import Item

if TYPE_CHECKING:
    from pathlib import Path

TRICKY = """movie_id,title,genres,length
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


@pytest.fixture
def tricky_path(tmp_path: Path) -> Path:
    source_path = tmp_path / "tricky.csv"
    source_path.write_text(TRICKY, encoding="utf-8")
    build(source_path, tmp_path / "tricky.db")
    return tmp_path / "tricky.db"


def content(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = ("SELECT * FROM items", "SELECT * FROM item_values", "SELECT rowid, title FROM items_fts")
        rows = [row for table in tables for row in connection.execute(table)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.execute("INSERT INTO items_fts(items_fts, rank) VALUES ('integrity-check', 1)")
    return rows


def test_build_keeps_ids_moves_years_and_splits_lists(tmp_path: Path) -> None:
    source_path = tmp_path / "tricky.csv"
    source_path.write_text(TRICKY, encoding="utf-8")
    shares: list[float] = []
    report = build(source_path, tmp_path / "sub" / "c.db", name="mine", progress=shares.append)
    assert (report.n_items, report.n_untitled) == (9, 1)
    assert (report.title_column, report.id_column, report.year_column) == ("title", "movie_id", None)
    assert (report.columns, report.list_columns) == (("genres", "length"), ("genres",))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    with Catalog.open(tmp_path / "sub" / "c.db") as catalog:
        assert catalog.name == "mine"
        assert catalog.n_items == 9
        assert catalog.columns == ("id", "title", "year", "genres", "length")
        assert catalog.items([1]) == [
            Item(CatalogRow(1), "007", "Matrix, The", 1999, {"genres": "Action, Sci-Fi", "length": 136})
        ]
        assert list(catalog.titles())[-3:] == [
            (7, "Amélie", 2001),
            (8, "8½", None),
            (9, "2001: A Space Odyssey", 1968),
        ]
        assert [key for _, key, _ in catalog.title_keys()] == [titles.key(title) for _, title, _ in catalog.titles()]
        assert catalog.items([5])[0].columns["genres"] is None


def test_items_come_in_the_order_asked_for(tricky_path: Path) -> None:
    with Catalog.open(tricky_path) as catalog:
        assert [item.row for item in catalog.items([3, 1, 3])] == [3, 1, 3]
        assert catalog.items([]) == []
        assert set(catalog.by_ids(["2", "nope", "2"])) == {"2"}
        with pytest.raises(KeyError):
            catalog.items([99])


def test_more_rows_than_sqlite_takes_parameters(films_path: Path) -> None:
    rows = list(range(17_000, 0, -1))
    with Catalog.open(films_path) as catalog:
        assert [item.row for item in catalog.items(rows)] == rows


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("alien", ["Alien", "Aliens"]),
        ("ALIENS", ["Aliens"]),
        ("odyssey space", ["2001: A Space Odyssey"]),
        ("amelie", ["Amélie"]),
        ("mat", ["Matrix, The"]),
        ('"', []),
        ("alien NOT aliens", []),
        ("title: alien*", []),
        ("", []),
        ("NEAR(alien)", []),
        ("🎬 \x00", []),
    ],
)
def test_search(text: str, found: list[str], tricky_path: Path) -> None:
    with Catalog.open(tricky_path) as catalog:
        assert [item.title for item in catalog.search(text)] == found
        assert len(catalog.search("heat", 2)) == 2


def test_search_for_whole_words(tricky_path: Path) -> None:
    with Catalog.open(tricky_path) as catalog:
        assert [item.title for item in catalog.search("alien", prefix=False)] == ["Alien"]


def test_the_full_text_index_is_one_that_sqlite_utils_knows(tricky_path: Path) -> None:
    database = Database(tricky_path)
    try:
        assert database.table("items").detect_fts() == "items_fts"
        assert [row["id"] for row in database.table("items").search("matrix")] == ["007"]
    finally:
        database.close()


def test_any_tools_edit_changes_the_revision(tricky_path: Path) -> None:
    with Catalog.open(tricky_path) as catalog, closing(sqlite3.connect(tricky_path)) as other:
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


def test_changes_since_a_revision_are_its_rows(tricky_path: Path) -> None:
    with Catalog.open(tricky_path) as catalog, closing(sqlite3.connect(tricky_path)) as other:
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


def test_a_filter_is_answered_anew_after_any_change(tricky_path: Path) -> None:
    with Catalog.open(tricky_path) as catalog, closing(sqlite3.connect(tricky_path)) as other:
        assert catalog.filter("genre = 'Horror'").tolist() == catalog.filter("genre = 'Horror'").tolist() == [2]
        revision = catalog.revision
        other.execute("UPDATE item_values SET value = 'Terror' WHERE value = 'Horror'")  # no row of `items`
        other.commit()
        assert catalog.revision == revision
        assert catalog.filter("genre = 'Horror'").tolist() == []
        assert catalog.filter("genre = 'Terror'").tolist() == [2]


def test_a_repeated_filter_asks_nothing_of_the_file(tricky_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Catalog.open(tricky_path) as catalog:
        expected = catalog.filter("year >= 1990").tolist()
        monkeypatch.setattr(where, "matching_rows", lambda *_: pytest.fail("asked again"))
        assert catalog.filter("year >= 1990").tolist() == expected


def test_what_is_asked_in_a_snapshot_is_of_one_moment(tricky_path: Path) -> None:
    with Catalog.open(tricky_path) as catalog:
        with catalog.snapshot():
            before = catalog.revision
            with closing(sqlite3.connect(tricky_path, timeout=0)) as other:
                other.execute("DELETE FROM items WHERE id = '2'")
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.commit()
            assert catalog.revision == before
        remove(tricky_path, ["2"])
        assert catalog.revision != before


def test_the_same_file_gives_the_same_revision(tmp_path: Path) -> None:
    source_path = tmp_path / "tricky.csv"
    revisions = []
    for text in (TRICKY, TRICKY, TRICKY.replace("117", "118")):
        source_path.write_text(text, encoding="utf-8")
        build(source_path, tmp_path / "c.db", force=True)
        with Catalog.open(tmp_path / "c.db") as catalog:
            revisions.append(catalog.revision)
    assert revisions[0] == revisions[1] != revisions[2]


def test_add_and_remove_leave_the_catalog_as_it_was(tricky_path: Path) -> None:
    before = content(tricky_path)
    report = add_item(tricky_path, "New &amp; Old (2020)", id="n", columns={"GENRES": "Crime, Drama", "length": 5})
    assert report.n_items == 1
    with Catalog.open(tricky_path) as catalog:
        item = catalog.by_ids(["n"])["n"]
        assert item == Item(CatalogRow(10), "n", "New & Old", 2020, {"genres": "Crime, Drama", "length": 5})
        assert list(catalog.filter("genre = 'Drama' AND genre = 'crime'")) == [10]
        assert catalog.search("new old") == [item]
    assert remove(tricky_path, ["n", "n"]) == 1
    assert content(tricky_path) == before


def test_added_items_without_an_id_are_numbered(tricky_path: Path) -> None:
    add_item(tricky_path, "One")
    add_item(tricky_path, "Two", year=1999)
    with Catalog.open(tricky_path) as catalog:
        assert catalog.by_ids(["11"])["11"].title == "One"
        assert catalog.by_ids(["12"])["12"].year == 1999


def test_a_file_is_added_whole_or_not_at_all(tricky_path: Path, tmp_path: Path) -> None:
    before = content(tricky_path)
    more_path = tmp_path / "more.jsonl"
    records = [{"id": f"n{i}", "title": f"New {i}", "genres": ["Drama"]} for i in range(5000)]
    more_path.write_text("".join(json.dumps(r) + "\n" for r in [*records, {"id": "007", "title": "Again"}]))
    with pytest.raises(UsageError, match="line 5001: 'Again' has the id '007', as has the item 'Matrix, The'"):
        add(tricky_path, more_path)
    assert content(tricky_path) == before
    more_path.write_text("".join(json.dumps(r) + "\n" for r in records))
    assert add(tricky_path, more_path).n_items == 5000
    with Catalog.open(tricky_path) as catalog:
        assert catalog.n_items == 5009
        assert catalog.filter("genre = 'Drama'").size == 5001


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"title": "A", "id": "2"}, "has the id '2', as has the item 'Alien'"),
        ({"title": "A", "columns": {"gender": "x"}}, "no column 'gender'; its columns are: genres, length"),
        ({"title": " \u200b"}, "no title"),
        ({"title": "A", "id": ""}, "every item needs an id"),
    ],
)
def test_what_cannot_be_added(arguments: dict[str, Any], message: str, tricky_path: Path) -> None:
    before = content(tricky_path)
    with pytest.raises(UsageError, match=message):
        add_item(tricky_path, **arguments)
    assert content(tricky_path) == before


def test_what_cannot_be_removed(tricky_path: Path) -> None:
    before = content(tricky_path)
    with pytest.raises(UsageError, match="no item with the id 'x' and 1 more"):
        remove(tricky_path, ["2", "x", "y"])
    with Catalog.open(tricky_path) as catalog:
        ids = [item.id for item in catalog.items(range(1, 10))]
    with pytest.raises(UsageError, match="without items"):
        remove(tricky_path, ids)
    assert content(tricky_path) == before


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("id,title\n1,a\n1,b\n", {}, "line 3: 'b' has the id '1', as has line 2"),
        ("id,title\n1,a\n,b\n", {}, "line 3: no 'id'"),
        ("id,titel\n1,a\n", {}, "no column looks like a title"),
        ("id,title\n1,a\n", {"year": "y"}, "no column 'y'"),
        ("id,title\n1,a\n", {"lists": ["x:|"]}, "no column 'x'"),
    ],
)
def test_wrong_files_and_options(text: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    source_path = tmp_path / "s.csv"
    source_path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        build(source_path, tmp_path / "c.db", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]


def test_a_duplicate_far_from_its_twin_is_found(tmp_path: Path) -> None:
    source_path = tmp_path / "s.csv"
    source_path.write_text("id,title\n" + "".join(f"{i % 4500},t{i}\n" for i in range(4501)), encoding="utf-8")
    with pytest.raises(UsageError, match="line 4502: 't4500' has the id '0', as has the item 't0'"):
        build(source_path, tmp_path / "c.db")


def test_nothing_to_build_of(tmp_path: Path) -> None:
    source_path = tmp_path / "s.csv"
    source_path.write_text("id,title\n1,\n2, \n", encoding="utf-8")
    with pytest.raises(CatalogError, match=r"no row of .* has a title") as error:
        build(source_path, tmp_path / "c.db")
    assert error.value.exit_code == 6


def test_an_existing_catalog_is_replaced_only_by_force(tricky_path: Path, tmp_path: Path) -> None:
    before = tricky_path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        build(tmp_path / "tricky.csv", tricky_path)
    (tmp_path / "bad.csv").write_text("id,title\n1,a\n1,b\n")
    with pytest.raises(UsageError, match="has the id"):
        build(tmp_path / "bad.csv", tricky_path, force=True)
    assert tricky_path.read_bytes() == before
    build(tmp_path / "tricky.csv", tricky_path, force=True)


ROWS = st.lists(
    st.fixed_dictionaries(
        {"title": st.text(min_size=1)},
        optional={
            "year": st.integers(1000, 9999),
            "n": st.none() | st.integers() | st.text(),
            "tags": st.lists(st.text()),
        },
    ),
    min_size=1,
    max_size=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(records=ROWS)
def test_whatever_is_in_a_file_comes_back(records: list[dict[str, Any]], tmp_path: Path) -> None:
    source_path = tmp_path / "any.json"
    source_path.write_text(json.dumps([*records, {"title": "last"}]), encoding="utf-8")
    build(source_path, tmp_path / "c.db", force=True)
    kept = [record for record in [*records, {"title": "last"}] if titles.clean(record["title"])]
    with Catalog.open(tmp_path / "c.db") as catalog:
        found = list(catalog.titles())
        assert [row for row, _, _ in found] == list(range(1, len(kept) + 1))
        for (_, title, year), record in zip(found, kept, strict=True):
            assert title in titles.clean(record["title"])
            assert year == record.get("year", year)
        assert {item.id for item in catalog.items(range(1, len(kept) + 1))} == {str(i + 1) for i in range(len(kept))}


def test_threads_share_a_catalog(films_path: Path) -> None:
    with Catalog.open(films_path) as catalog:
        rows = [row for row, _, _ in catalog.titles()]

        def work(seed: int) -> list[Any]:
            rng = random.Random(seed)
            wanted = rng.sample(rows, 50)
            return [
                catalog.items(wanted),
                catalog.search("love", 20),
                catalog.filter(f"year = {1950 + seed}").tolist(),
            ]

        expected = [work(seed) for seed in range(8)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == expected


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
def test_files_that_are_no_catalog(kind: str, message: str, tricky_path: Path) -> None:
    damaged(kind, tricky_path)
    with pytest.raises(CatalogError, match=message) as error:
        Catalog.open(tricky_path)
    assert error.value.exit_code == 6
    assert "\n" not in error.value.message
    assert error.value.hint


def test_a_missing_file_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such catalog"):
        Catalog.open(tmp_path / "none.db")
    with pytest.raises(UsageError, match="cannot read"):
        Catalog.open(tmp_path)
    with pytest.raises(UsageError, match="no such catalog"):
        remove(tmp_path / "none.db", ["1"])


def test_an_empty_catalog_is_refused(tricky_path: Path) -> None:
    with closing(sqlite3.connect(tricky_path)) as connection:
        connection.execute("DELETE FROM items")
        connection.commit()
    with pytest.raises(CatalogError, match="is empty"):
        Catalog.open(tricky_path)


def test_random_damage_is_reported_and_never_something_else(tricky_path: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    whole = tricky_path.read_bytes()
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


def test_a_second_writer_waits_and_then_says_so(tricky_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrec_edge.storage.sqlite.BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(tricky_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedError, match="is being written by another process"):
            remove(tricky_path, ["2"])
        with Catalog.open(tricky_path) as catalog:
            assert catalog.n_items == 9


KILLED_ADD = """
import sys
from genrec_edge.catalog.edit import add
add(sys.argv[1], sys.argv[2])
"""


def test_killed_writers_leave_all_or_nothing(tricky_path: Path, tmp_path: Path) -> None:
    more_path = tmp_path / "more.csv"
    more_path.write_text("id,title\n" + "".join(f"n{i},New film number {i}\n" for i in range(60_000)))
    whole = tricky_path.read_bytes()
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
        content(path)
    assert counts <= {9, 60_009}


def test_a_hot_journal_is_rolled_back_by_the_next_reader(tricky_path: Path, tmp_path: Path) -> None:
    copy_path = tmp_path / "copy.db"
    with closing(sqlite3.connect(tricky_path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE items SET title = title || hex(randomblob(2000))")
        shutil.copy(tricky_path, copy_path)
        shutil.copy(f"{tricky_path}-journal", f"{copy_path}-journal")
        connection.execute("ROLLBACK")
    with Catalog.open(copy_path) as catalog:
        assert max(len(title) for _, title, _ in catalog.titles()) < 100
    assert content(copy_path) == content(tricky_path)


def test_the_default_catalog_is_built_once(own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_path = tmp_path / "films.jsonl"
    small_path.write_text('{"id": "1", "title": "Heat", "year": 1995}\n')
    monkeypatch.setattr("genrec_edge.catalog.default_catalog._FILMS_PATH", small_path)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: default_catalog_path(), range(8)))
    path = found.pop()
    assert not found
    assert path.is_relative_to(own_home)
    changed = path.stat().st_mtime_ns
    assert default_catalog_path() == path
    assert path.stat().st_mtime_ns == changed
    small_path.write_text('{"id": "1", "title": "Heat", "year": 1996}\n')
    assert default_catalog_path() != path


def test_importing_the_catalog_loads_nothing_heavy() -> None:
    heavy = {"sqlite_utils", "rapidfuzz", "numpy", "rich"}
    code = f"import sys, genrec_edge.catalog.reader; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_reading_goes_on_while_titles_are_streamed(tricky_path: Path) -> None:
    with Catalog.open(tricky_path) as catalog:
        stream = catalog.titles()
        next(stream)
        result: list[int] = []
        thread = threading.Thread(target=lambda: result.append(len(catalog.search("heat"))))
        thread.start()
        thread.join(5)
        assert result == [3]
        stream.close()  # type: ignore[attr-defined]
