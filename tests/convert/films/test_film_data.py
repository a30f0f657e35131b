"""The films that come with the package: what is in them, and that they can be made again."""

from __future__ import annotations

import json
import lzma
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import genrec_edge
from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.films import bokeh, build
from genrec_edge.errors import GenRecError

DATA_PATH = Path(genrec_edge.__file__).parent / "data"
PACKED_PATH = DATA_PATH / "films.jsonl.xz"
LISTS = ("genres", "director", "cast", "country", "language", "keywords", "aliases")


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    with lzma.open(PACKED_PATH, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_data_is_small_and_has_its_notice() -> None:
    assert PACKED_PATH.stat().st_size <= 2 * 1024 * 1024
    licence = "CC0-1.0 AND MIT AND CC-BY-4.0"
    assert f"SPDX-License-Identifier: {licence}\n" in (DATA_PATH / "LICENSE-films.txt").read_text(encoding="utf-8")
    assert licence in (DATA_PATH / "README.md").read_text(encoding="utf-8")


def test_every_film_has_what_the_catalog_promises(records: list[dict[str, Any]]) -> None:
    assert len(records) == 28_469
    assert len({record["id"] for record in records}) == 28_469
    assert all(1902 <= record["year"] <= 2025 for record in records)
    filled = Counter(name for record in records for name in record)
    assert filled == {
        **dict.fromkeys(("id", "title", "year", "known"), 28_469),
        "genres": 28_224,
        "director": 27_047,
        "cast": 26_398,
        "runtime": 23_039,
        "country": 20_028,
        "language": 19_816,
        "keywords": 8_666,
        "aliases": 2_197,
        "awards": 2_146,
    }
    values = [value for record in records for name in LISTS for value in record.get(name, [])]
    assert not {value for value in values if value != value.strip() or not value}
    assert not {"Jr.", "Sr.", "III"} & set(values)


@pytest.mark.slow
def test_the_catalog_holds_the_same_films(films_path: Path, records: list[dict[str, Any]]) -> None:
    with Catalog.open(films_path) as catalog:
        assert catalog.meta["licence"] == "CC0-1.0 AND MIT AND CC-BY-4.0"
        assert catalog.list_columns == LISTS
        items = catalog.items(range(1, catalog.n_items + 1))
        assert [(item.id, item.title, item.year) for item in items] == [
            (record["id"], record["title"], record["year"]) for record in records
        ]
        for name in catalog.list_columns:
            assert [item.columns[name] for item in items] == [
                ", ".join(dict.fromkeys(record[name])) if name in record else None for record in records
            ]
        for name in ("runtime", "known"):
            assert [item.columns[name] for item in items] == [record.get(name) for record in records]
        of_list = "SELECT value FROM item_values JOIN items ON item = \"row\" WHERE id = ? AND field = 'aliases'"
        found = catalog.query(of_list, ["the-golem-how-he-came-into-the-world-1920"])
        assert found == [("Der Golem, wie er in die Welt kam",)], "a comma does not part a title"


def small_database(path: Path) -> None:
    columns = 'ID, imdbID, Title, Year, Genre, Director, "Cast", Country, Language, Runtime, Awards'
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE omdb({columns})")
        connection.executemany(
            f"INSERT INTO omdb VALUES ({', '.join('?' * 11)})",
            [
                (9, "tt2", "Redux", 2001, "", "F. C.", None, "", None, None, None),
                (
                    5,
                    "tt2",
                    "Now",
                    1979,
                    "War, Drama",
                    "F. C.",
                    "A, Robert B, Jr., C",
                    "US",
                    "English",
                    147.0,
                    "Won 2 Oscars.",
                ),
                (7, "tt1", "First", 1940, "War", "X", "", "US", "English", 90.4, None),
            ],
        )
        connection.commit()


def test_films_are_made_of_the_database(tmp_path: Path) -> None:
    small_database(tmp_path / "movies.db")
    found = list(bokeh.films(tmp_path / "movies.db"))
    assert [film["id"] for film in found] == ["tt1", "tt2", "tt2-9"]
    assert found[1]["cast"] == ["A", "Robert B, Jr.", "C"]
    assert found[0]["runtime"] == 90
    assert found[1]["awards"] == "Won 2 Oscars."
    assert found[2] == {"id": "tt2-9", "title": "Redux", "year": 2001, "director": ["F. C."]}
    lines = lzma.decompress(build.pack(found)).decode().splitlines()
    assert [json.loads(line) for line in lines] == found


def test_another_database_is_refused(tmp_path: Path) -> None:
    small_database(tmp_path / "movies.db")
    with pytest.raises(GenRecError, match="does not hold the pinned films"):
        list(build.main(tmp_path / "movies.db", tmp_path / "out.xz"))
    assert not (tmp_path / "out.xz").exists()


@pytest.mark.slow
def test_the_shipped_bytes_can_be_made_again(tmp_path: Path) -> None:
    """Needs the wheel or its database: GENREC_EDGE_BOKEH_SAMPLEDATA says where it is."""
    given = os.environ.get("GENREC_EDGE_BOKEH_SAMPLEDATA")
    if not given:
        pytest.skip("GENREC_EDGE_BOKEH_SAMPLEDATA is not set")
    said = list(build.main(Path(given), tmp_path / "out.xz"))
    assert said[-1] == f"{tmp_path / 'out.xz'}: 28,469 films, {PACKED_PATH.stat().st_size:,} bytes"
    with lzma.open(tmp_path / "out.xz") as made, lzma.open(PACKED_PATH) as shipped:
        assert made.read() == shipped.read()
