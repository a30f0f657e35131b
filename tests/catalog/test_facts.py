"""Facts of real films and of made catalogs, beside the tables they come from."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.edit import add_item
from genrec_edge.catalog.facts import DECADE, CatalogFacts, facts_condition, facts_text
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from pathlib import Path


def made(folder: Path, text: str, lists: tuple[str, ...] = ()) -> Path:
    (folder / "items.csv").write_text(text, encoding="utf-8")
    build(folder / "items.csv", folder / "items.db", lists=lists)
    return folder / "items.db"


@pytest.mark.slow
def test_the_facts_of_films_are_those_of_the_table(films: Catalog) -> None:
    """Against SQL over the file: every value of every list column, and the decade."""
    catalog_facts, rows = CatalogFacts(films), [1, 101, 5000, 17000]
    assert catalog_facts.columns == ("genres", "director", "cast", "country", "language", "keywords", DECADE)
    with closing(sqlite3.connect(films.path)) as connection:
        for row, facts in zip(rows, catalog_facts.of(rows), strict=True):
            query = "SELECT field, value FROM item_values WHERE item = ? AND field <> 'aliases'"
            values = set(connection.execute(query, [row]))
            ((year,),) = connection.execute('SELECT year FROM items WHERE "row" = ?', [row])
            assert {(f.column, f.value) for f in facts if f.column != DECADE} == values
            assert [f.value for f in facts if f.column == DECADE] == ([] if year is None else [f"{str(year)[:3]}0s"])
            assert len(set(facts)) == len(facts)


@pytest.mark.slow
def test_values_and_shares_are_counts_of_items(films: Catalog) -> None:
    catalog_facts = CatalogFacts(films)
    for column in catalog_facts.columns:
        counts = catalog_facts.values(column)
        for value in sorted(counts, key=lambda v: (-counts[v], v))[:3]:
            found = films.filter(facts_condition([Fact(column, value)]))
            assert len(found) == counts[value]
            assert catalog_facts.share(Fact(column, value)) == pytest.approx(len(found) / films.n_items)
    assert catalog_facts.share(Fact("genres", "No such genre")) == 0


def test_conditions_hold_where_all_facts_do(films: Catalog) -> None:
    catalog_facts = CatalogFacts(films)
    wanted = (Fact("genres", "Comedy"), Fact(DECADE, "1990s"), Fact("country", "France"))
    rows = films.filter(facts_condition(wanted)).tolist()
    assert len(rows) > 50
    assert all(set(wanted) <= set(facts) for facts in catalog_facts.of(rows))
    assert facts_text(wanted) == "Comedy, 1990s, France"


def test_other_titles_and_fame_are_no_facts(tmp_path: Path) -> None:
    lines = ["id,title,Aliases,Known,mood"]
    lines += [f"{i},Book {i},The Same|Other {i},{['everybody', 'nobody'][i % 2]},glad|sad" for i in range(40)]
    path = made(tmp_path, "\n".join(lines), lists=("Aliases", "mood"))
    with Catalog.open(path) as catalog:
        catalog_facts = CatalogFacts(catalog)
        assert catalog_facts.columns == ("mood", DECADE)
        assert catalog_facts.of([1]) == [(Fact("mood", "glad"), Fact("mood", "sad"))]
        assert len(catalog.filter("Aliases = 'The Same' AND Known = 'nobody'")) == 20, "filters have them"


def test_people_are_facts_and_numbers_are_not(tmp_path: Path) -> None:
    lines = ["id,title,author,stock,editor,price"]
    lines += [f"{i},Book {i},J. R. Writer the {i}th,{i % 3},{['Ann Lee', ''][i % 2]},12.50" for i in range(30)]
    path = made(tmp_path, "\n".join(lines))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE items SET stock = 'many' WHERE id = '3'")  # text in a column of numbers
    with Catalog.open(path) as catalog:
        catalog_facts = CatalogFacts(catalog)
        assert catalog_facts.columns == ("author", "editor", DECADE)
        assert catalog_facts.of([2]) == [(Fact("author", "J. R. Writer the 1th"),)]
        assert catalog_facts.of([1])[0][1:] == (Fact("editor", "Ann Lee"),)


def test_which_text_columns_hold_facts(tmp_path: Path) -> None:
    """Words that many items share; no ids, no numbers as text, no sentences, no long texts."""
    lines = ["id,title,brand,code,rating,note,price"]
    for i in range(60):
        note = "Won a prize." if i % 2 else "Won none."
        lines.append(f"{i},Item {i},{['Acorn', 'OHara & Söhne'][i % 2]},{'A1' if i % 3 else 'B2'},PG-13,{note},{i}")
    with Catalog.open(made(tmp_path, "\n".join(lines))) as catalog:
        catalog_facts = CatalogFacts(catalog)
        assert catalog_facts.columns == ("brand", DECADE)
        assert catalog_facts.of([2]) == [(Fact("brand", "OHara & Söhne"),)]
        assert catalog_facts.values("brand") == {"Acorn": 30, "OHara & Söhne": 30}


def test_quotes_and_odd_column_names_make_conditions_that_hold(tmp_path: Path) -> None:
    text = 'id,title,"made by",tags\n' + "\n".join(
        f'{i},Item {i},"Jim O\'Hara","Rock \'n\' Roll|Pop"' for i in range(40)
    )
    with Catalog.open(made(tmp_path, text, ("tags",))) as catalog:
        (facts,) = CatalogFacts(catalog).of([1])
        assert set(facts) == {Fact("tags", "Rock 'n' Roll"), Fact("tags", "Pop"), Fact("made by", "Jim O'Hara")}
        assert len(catalog.filter(facts_condition(facts))) == 40


def test_columns_that_are_called_like_words_of_sql_make_conditions_that_hold(tmp_path: Path) -> None:
    lines = ["id,title,like,case", *(f"{i},Item {i},Tea|Milk,Oak" for i in range(40))]
    with Catalog.open(made(tmp_path, "\n".join(lines), ("like",))) as catalog:
        (facts,) = CatalogFacts(catalog).of([1])
        assert {fact.column for fact in facts} == {"like", "case"}
        assert len(catalog.filter(facts_condition(facts))) == 40


def test_a_changed_catalog_is_read_again(tmp_path: Path) -> None:
    path = made(tmp_path, "id,title,genres\n1,One,Drama|War\n2,Two,Drama\n")
    with Catalog.open(path) as catalog:
        catalog_facts = CatalogFacts(catalog)
        assert catalog_facts.share(Fact("genres", "War")) == 0.5
        add_item(path, "Three", columns={"genres": "Comedy"})
        assert catalog_facts.share(Fact("genres", "War")) == pytest.approx(1 / 3)
        assert catalog_facts.of([3]) == [(Fact("genres", "Comedy"),)]
        with pytest.raises(KeyError):
            catalog_facts.of([4])
