"""The facts of whole catalogs, against loops over the rows they were built of."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog import edit
from genrec_edge.catalog.reader import Catalog
from genrec_edge.coordinates import CatalogRows
from genrec_edge.errors import CancelledError
from genrec_edge.prior import fact_table
from tests.support.facts import Film, build_films, facts_in_common, random_films

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.prior.facts import FactIndex


def rows_of(path: Path) -> CatalogRows:
    with Catalog.open(path) as catalog:
        return CatalogRows(np.array([row for row, _, _ in catalog.titles()], np.int64))


def read(path: Path, rows: CatalogRows | None = None) -> FactIndex:
    with Catalog.open(path) as catalog:
        return fact_table.read(catalog, rows_of(path) if rows is None else rows)


@pytest.mark.parametrize("seed", range(6))
def test_any_catalog_has_the_facts_of_its_rows(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fact_table, "_PAGE", 7)  # so that there are several
    rng = random.Random(seed)
    films = random_films(rng, rng.choice([12, 90]))
    path = build_films(films, tmp_path / "films.db")
    order = rng.sample(range(len(films)), len(films))
    index = read(path, CatalogRows(rows_of(path)[order]))
    history = rng.sample(range(len(films)), 5)
    expected = facts_in_common(films, history)
    found = index.scores([order.index(item) for item in history])
    assert found.tolist() == pytest.approx([expected[item] for item in order], abs=1e-9)


def test_other_titles_and_fame_are_nothing_in_common(tmp_path: Path) -> None:
    columns = {"genres": ["Drama", "War"], "aliases": ["Same", "Other"], "known": ["everybody"]}
    films = [Film(f"{letter}{letter}{letter}", None, columns) for letter in "abcdef"]
    index = read(build_films(films, tmp_path / "films.db"))
    assert [column.name for column in index.columns] == ["genres"]


def test_which_columns_hold_facts(tmp_path: Path) -> None:
    lines = ["id,title,year,genres,brand,plot,size,rank,seen,mark"]
    for i in range(40):
        genre, brand = ("Drama|War", "drama|Action", "DRAMA")[i % 3], ("Sony", "SONY", "Acme")[i % 3]
        lines.append(
            f"i{i},{'abcde'[i % 5]}{i},,{genre},{brand},the story {i},"
            f"{i % 4},{i % 3}|{i % 5},2020-01-0{i % 9},{i % 2}/10"
        )
    (tmp_path / "s.csv").write_text("\n".join(lines), encoding="utf-8")
    from genrec_edge.catalog import writer

    writer.build(tmp_path / "s.csv", tmp_path / "s.db", lists=["genres", "rank"], texts=["seen"])
    index = read(tmp_path / "s.db")
    # Plots are of one item each; sizes are numbers; ranks, dates and marks are texts of digits.
    assert [(column.name, len(column.values), column.n_pairs) for column in index.columns] == [
        ("genres", 3, 67),
        ("brand", 2, 40),
    ]
    # Spellings that differ in the case of ASCII letters alone are one value.
    assert index.n_items_with[:3].tolist() == [13, 40, 14]  # action, drama, war
    assert sorted(index.n_items_with[3:].tolist()) == [13, 27]


def test_years_are_near_or_far(tmp_path: Path) -> None:
    films = [Film(f"{'abcdefgh'[i]}", year) for i, year in enumerate((1999, 1998, 2000, 1995, 1990, 2009, None, -3))]
    index = read(build_films(films, tmp_path / "y.db"))
    found = index.scores([0])
    assert found.tolist() == pytest.approx(facts_in_common(films, [0]))
    one = found[4]  # of ten years
    assert found[1] == pytest.approx(found[0])  # the same two fives of years, and the same decade
    assert 0 < one < found[1]
    assert found[2] > 0  # the same five years from 1998
    assert found[5:].tolist() == [0, 0, 0]


def test_words_of_titles_are_those_of_their_keys(tmp_path: Path) -> None:
    films = [Film("Matrix, The"), Film("The Mátrix Reloaded"), Film("It"), Film("It 2"), Film("Up & Away")]
    found = read(build_films(films, tmp_path / "w.db")).scores([0])
    assert found[0] == pytest.approx(found[1] * 4 / 3)  # the, matrix; of two words and of three, each with a nought
    assert found[2:].tolist() == [0, 0, 0]


def test_a_catalog_of_titles_alone_has_words_in_common_and_nothing_else(tmp_path: Path) -> None:
    films = [Film(title) for title in ("Alien", "Aliens", "Brazil", "Heat")]
    index = read(build_films(films, tmp_path / "t.db"))
    assert index.columns == ()
    assert index.scores([0, 1]).tolist() == [0, 0, 0, 0]


def test_rows_that_came_later_are_left_out(tmp_path: Path) -> None:
    films = random_films(random.Random(1), 30)
    path = build_films(films, tmp_path / "films.db")
    rows = rows_of(path)
    edit.add_item(path, "Red Moon", year=1980)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM items WHERE id = 'f3'")
    index = read(path, rows)
    assert index.n_items == 30
    assert index.scores([3]).tolist() == [0] * 30
    kept = [film for i, film in enumerate(films) if i != 3]
    # The share of a value is one of the rows that are asked for.
    expected = facts_in_common([*kept, Film("xx")], [0])
    assert np.delete(index.scores([0]), 3).tolist() == pytest.approx(expected[:-1], abs=1e-9)


def test_reading_can_be_ended(tmp_path: Path) -> None:
    path = build_films(random_films(random.Random(1), 30), tmp_path / "films.db")

    def check() -> None:
        raise CancelledError("ended")

    with Catalog.open(path) as catalog, pytest.raises(CancelledError):
        fact_table.read(catalog, rows_of(path), check)
