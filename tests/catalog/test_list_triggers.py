"""Filters follow list columns that another program writes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog import edit
from genrec_edge.catalog.list_triggers import lists_left_behind
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.errors import CatalogError

if TYPE_CHECKING:
    from pathlib import Path

TRIGGERS = ("items_lists_insert", "items_lists_update", "item_values_again")


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def values(path: Path, row: int) -> dict[str, set[str]]:
    with closing(sqlite3.connect(path)) as connection:
        found: dict[str, set[str]] = {}
        for field, value in connection.execute("SELECT field, value FROM item_values WHERE item = ?", [row]):
            found.setdefault(field, set()).add(value)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Returns a catalog with two list columns, in one of which a value has a comma."""
    text = 'id,title,genres,country\'s\n1,One,Action|Drama,"Korea, South|France"\n2,Two,Drama,\n3,Three,,Italy\n'
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    build(tmp_path / "a.csv", tmp_path / "a.db", lists=["genres:|", "country's:|"])
    assert values(tmp_path / "a.db", 1) == {"genres": {"Action", "Drama"}, "country's": {"Korea, South", "France"}}
    return tmp_path / "a.db"


def test_an_update_of_another_program(path: Path) -> None:
    with Catalog.open(path) as catalog:
        assert catalog.filter("genre = 'Action'").tolist() == [1]
        execute(path, """UPDATE items SET genres = 'War, Sci-Fi, "B\\movie", Drama' WHERE id = '1'""")
        assert catalog.filter("genre = 'Action'").tolist() == []
        assert catalog.filter("genre = 'war' AND genre = '\"B\\movie\"'").tolist() == [1]
        assert values(path, 1) == {
            "genres": {"War", "Sci-Fi", '"B\\movie"', "Drama"},
            "country's": {"Korea, South", "France"},  # not changed, so not split
        }
        execute(path, "UPDATE items SET genres = NULL", """UPDATE items SET "country's" = 7 WHERE id = '3'""")
        assert catalog.filter("genre IS NOT NULL OR genre = 'War'").tolist() == []
        assert values(path, 3) == {"country's": {"7"}}


def test_an_item_that_moves_or_is_replaced_takes_its_values_with_it(path: Path) -> None:
    execute(path, "UPDATE items SET \"row\" = 40 WHERE id = '1'")
    assert values(path, 1) == {}
    assert values(path, 40)["country's"] == {"Korea, South", "France"}
    execute(
        path, """INSERT OR REPLACE INTO items("row", id, title, "key", genres) VALUES (2, '2', 'II', 'ii', 'War')"""
    )
    assert values(path, 2) == {"genres": {"War"}}


def test_an_insert_of_another_program(path: Path) -> None:
    execute(path, """INSERT INTO items(id, title, "key", genres) VALUES ('4', 'Four', 'four', 'War,  Drama, ')""")
    assert values(path, 4) == {"genres": {"War", "Drama"}}
    execute(
        path,  # one that writes the values as well, as was needed before
        """INSERT INTO items(id, title, "key", genres) VALUES ('5', 'Five', 'five', 'War')""",
        "INSERT INTO item_values VALUES (5, 'genres', 'War')",
        "INSERT INTO item_values VALUES (5, 'genres', 'More')",
    )
    assert values(path, 5) == {"genres": {"War", "More"}}


def test_our_own_imports_know_better(path: Path, tmp_path: Path) -> None:
    item = {"id": "9", "title": "Nine", "country's": ["Congo, Republic of the", "Mali"]}
    (tmp_path / "more.jsonl").write_text(json.dumps(item) + "\n")
    edit.add(path, tmp_path / "more.jsonl")
    assert values(path, 4) == {"country's": {"Congo, Republic of the", "Mali"}}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM meta WHERE name = 'importing'").fetchone() == (0,)


def without_triggers(path: Path) -> None:
    """Make a catalog one of version 0.1: without triggers of list columns, and without a digest that is right."""
    execute(path, *(f"DROP TRIGGER {name}" for name in TRIGGERS))


def test_an_old_catalog_is_brought_up_to_date_when_it_is_opened(path: Path) -> None:
    without_triggers(path)
    execute(path, "UPDATE items SET genres = 'War' WHERE id = '1'")
    with Catalog.open(path) as catalog:
        assert catalog.filter("genre = 'War'").tolist() == [1]
        assert catalog.filter("genre = 'Action'").tolist() == []
        execute(path, "UPDATE items SET genres = 'Crime' WHERE id = '1'")
        assert catalog.filter("genre = 'Crime'").tolist() == [1]


def test_an_old_catalog_that_nobody_changed_stays_as_it_is(path: Path) -> None:
    without_triggers(path)
    before = path.read_bytes()
    with Catalog.open(path) as catalog:
        assert catalog.filter("country's = 'Korea, South'".replace("country's", '"country\'s"')).tolist() == [1]
    assert path.read_bytes() == before


def test_an_old_catalog_that_cannot_be_written_is_refused_if_its_filters_would_be_wrong(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_triggers(path)
    execute(path, "UPDATE items SET genres = 'War' WHERE id = '1'")

    def refused(_path: Path) -> None:
        raise CatalogError(f"cannot open or write {path}")

    monkeypatch.setattr(edit, "changing", refused)
    with pytest.raises(CatalogError, match="another program changed list columns") as error:
        Catalog.open(path)
    assert "can be written" in error.value.hint


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE items SET genres = 'Action' WHERE id = '1'", [(1, "genres")]),
        ("UPDATE items SET genres = 'Action, Drama, War' WHERE id = '1'", [(1, "genres")]),
        ("UPDATE items SET genres = 'Sci-Fi' WHERE id = '3'", [(3, "genres")]),
        ("UPDATE items SET genres = NULL WHERE id = '2'", [(2, "genres")]),
        ("UPDATE items SET genres = 'drama' WHERE id = '2'", []),
        ("UPDATE items SET year = 5 WHERE id = '2'", []),
    ],
)
def test_what_was_left_behind_is_found(statement: str, expected: list[tuple[int, str]], path: Path) -> None:
    without_triggers(path)
    execute(path, statement)
    with closing(sqlite3.connect(path)) as connection:
        assert lists_left_behind(connection, ["genres", "country's"]) == expected
