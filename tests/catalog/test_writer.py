"""Building a catalog: what of a file is kept, and that there is a whole catalog or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.catalog import titles
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.coordinates import CatalogRow
from genrec_edge.errors import CatalogError, UsageError
from genrec_edge.records import Item
from tests.support.catalogs import NINE_FILMS_CSV

if TYPE_CHECKING:
    from pathlib import Path


def test_build_keeps_ids_moves_years_and_splits_lists(tmp_path: Path) -> None:
    source_path = tmp_path / "nine_films.csv"
    source_path.write_text(NINE_FILMS_CSV, encoding="utf-8")
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


def test_the_same_file_gives_the_same_revision(tmp_path: Path) -> None:
    source_path = tmp_path / "nine_films.csv"
    revisions = []
    for text in (NINE_FILMS_CSV, NINE_FILMS_CSV, NINE_FILMS_CSV.replace("117", "118")):
        source_path.write_text(text, encoding="utf-8")
        build(source_path, tmp_path / "c.db", force=True)
        with Catalog.open(tmp_path / "c.db") as catalog:
            revisions.append(catalog.revision)
    assert revisions[0] == revisions[1] != revisions[2]


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


def test_nothing_to_build_of(tmp_path: Path) -> None:
    source_path = tmp_path / "s.csv"
    source_path.write_text("id,title\n1,\n2, \n", encoding="utf-8")
    with pytest.raises(CatalogError, match=r"no row of .* has a title") as error:
        build(source_path, tmp_path / "c.db")
    assert error.value.exit_code == 6


def test_an_existing_catalog_is_replaced_only_by_force(nine_films_path: Path, tmp_path: Path) -> None:
    before = nine_films_path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        build(tmp_path / "nine_films.csv", nine_films_path)
    (tmp_path / "bad.csv").write_text("id,title\n1,a\n1,b\n")
    with pytest.raises(UsageError, match="has the id"):
        build(tmp_path / "bad.csv", nine_films_path, force=True)
    assert nine_films_path.read_bytes() == before
    build(tmp_path / "nine_films.csv", nine_films_path, force=True)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ROWS = st.lists(
    st.fixed_dictionaries(
        {"title": st.text(min_size=1)},
        optional={
            "year": st.integers(-99_999, 9999).filter(bool),
            "n": st.none() | st.integers() | TEXTS,
            "tags": st.lists(TEXTS),
        },
    ),
    min_size=1,
    max_size=10,
)


@pytest.mark.slow
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
