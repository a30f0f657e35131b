"""Reading a catalog: items, search, filters, snapshots, threads."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.catalog import where
from genrec_edge.catalog.edit import remove
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.errors import CatalogError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_items_come_in_the_order_asked_for(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog:
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
def test_search(text: str, found: list[str], nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog:
        assert [item.title for item in catalog.search(text)] == found
        assert len(catalog.search("heat", 2)) == 2


def test_search_for_whole_words(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog:
        assert [item.title for item in catalog.search("alien", prefix=False)] == ["Alien"]


def test_a_filter_is_evaluated_again_after_any_change(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog, closing(sqlite3.connect(nine_films_path)) as other:
        assert catalog.filter("genre = 'Horror'").tolist() == catalog.filter("genre = 'Horror'").tolist() == [2]
        revision = catalog.revision
        other.execute("UPDATE item_values SET value = 'Terror' WHERE value = 'Horror'")  # no row of `items`
        other.commit()
        assert catalog.revision == revision
        assert catalog.filter("genre = 'Horror'").tolist() == []
        assert catalog.filter("genre = 'Terror'").tolist() == [2]


def test_a_repeated_filter_does_not_read_the_file(nine_films_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Catalog.open(nine_films_path) as catalog:
        expected = catalog.filter("year >= 1990").tolist()
        monkeypatch.setattr(where, "matching_rows", lambda *_: pytest.fail("read again"))
        assert catalog.filter("year >= 1990").tolist() == expected


def test_queries_in_a_snapshot_see_one_state(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog:
        with catalog.snapshot():
            before = catalog.revision
            with closing(sqlite3.connect(nine_films_path, timeout=0)) as other:
                other.execute("DELETE FROM items WHERE id = '2'")
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.commit()
            assert catalog.revision == before
        remove(nine_films_path, ["2"])
        assert catalog.revision != before


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


def test_an_empty_catalog_is_refused(nine_films_path: Path) -> None:
    with closing(sqlite3.connect(nine_films_path)) as connection:
        connection.execute("DELETE FROM items")
        connection.commit()
    with pytest.raises(CatalogError, match="is empty"):
        Catalog.open(nine_films_path)


def test_importing_the_catalog_loads_nothing_heavy() -> None:
    heavy = {"sqlite_utils", "rapidfuzz", "numpy", "rich"}
    code = f"import sys, genrec_edge.catalog.reader; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_reading_goes_on_while_titles_are_streamed(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog:
        stream = catalog.titles()
        next(stream)
        result: list[int] = []
        thread = threading.Thread(target=lambda: result.append(len(catalog.search("heat"))))
        thread.start()
        thread.join(5)
        assert result == [3]
        stream.close()  # type: ignore[attr-defined]


def test_a_file_that_is_replaced_is_opened_anew(nine_films_path: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("id,title,kind\na,Up,Cartoon\nb,Big,Comedy\n")
    with Catalog.open(nine_films_path) as catalog:
        before = catalog.revision
        assert catalog.filter("length > 120").size
        build(tmp_path / "other.csv", nine_films_path, force=True)
        assert catalog.revision != before
        assert catalog.columns == ("id", "title", "year", "kind")
        rows = catalog.filter("kind = 'Comedy'").tolist()
        assert [item.title for item in catalog.items(rows)] == ["Big"]
        assert (catalog.n_items, [title for _, title, _ in catalog.titles()]) == (2, ["Up", "Big"])
        with pytest.raises(UsageError, match="no column 'length'"):
            catalog.filter("length > 120")
        (tmp_path / "no_catalog").write_text("no catalog")
        (tmp_path / "no_catalog").replace(nine_films_path)
        with pytest.raises(CatalogError, match="is not a catalog"):
            catalog.items([1])
        nine_films_path.unlink()
        assert catalog.items([1])[0].title == "Up"  # the file is still open


def test_columns_of_another_program_are_read_anew(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog, closing(sqlite3.connect(nine_films_path)) as other:
        other.execute("ALTER TABLE items ADD COLUMN owned INTEGER DEFAULT 1")
        assert catalog.items([1])[0].columns["owned"] == 1
        assert catalog.filter("owned = 1").size == 9
        other.execute("ALTER TABLE items DROP COLUMN owned")
        assert "owned" not in catalog.items([1])[0].columns


def test_a_closed_catalog_is_no_damage(nine_films_path: Path) -> None:
    catalog = Catalog.open(nine_films_path)
    catalog.close()
    with pytest.raises(UsageError, match="was closed"):
        catalog.items([1])
    catalog.close()
