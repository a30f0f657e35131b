"""Filters as SQL: names become columns, and unknown names are refused with the nearest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.where_compiler import columns_by_name, compile_condition
from genrec_edge.catalog.writer import build
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("1 UNION SELECT 1", "no column 'UNION'"),
        ("1 ORDER BY year", "no column 'ORDER'"),
        ("1 LIMIT 1", "no column 'LIMIT'"),
        ("1 GROUP BY year", "no column 'GROUP'"),
        ("row IN (SELECT row FROM items)", "no column"),
        ("EXISTS (SELECT 1 FROM sqlite_master)", "no function 'EXISTS'"),
        ("load_extension('evil')", "no function 'load_extension'"),
        ("randomblob(1000000000)", "no function 'randomblob'"),
        ("zeroblob(1000000000) = ''", "no function 'zeroblob'"),
        ("readfile('/etc/passwd')", "no function 'readfile'"),
        ("printf('%1000000000d', 1)", "no function 'printf'"),
        ("title MATCH 'x'", "no column 'MATCH'"),
        ("title REGEXP 'x'", "no column 'REGEXP'"),
        ("title = x'00'", "no column 'x'"),
        ("row > 1", "no column 'row'"),
        ("rowid > 1", "no column 'rowid'"),
        ("key = 'heat'", "no column 'key'"),
        ("count(*)", "no function 'count'"),
    ],
)
def test_unknown_columns_and_functions_are_refused(where: str, message: str, films: Catalog) -> None:
    with pytest.raises(UsageError, match=message) as error:
        films.filter(where)
    assert error.value.exit_code == 2
    assert len(error.value.message) < 400
    assert "\n" not in error.value.message


def test_an_unknown_column_is_answered_with_the_nearest(films: Catalog) -> None:
    with pytest.raises(UsageError, match="no column 'yaer'; the columns are: id, title, year, genres") as error:
        films.filter("yaer > 1990")
    assert error.value.hint == "did you mean 'year'?"


def test_names_that_need_quotes(tmp_path: Path) -> None:
    source_path = tmp_path / "odd.csv"
    source_path.write_text(
        'title,"My ""Own"" Tag\'s",end,Stories,select\nA,x|y,1,"s, t",u\nB,y,2,t,v\n', encoding="utf-8"
    )
    build(source_path, tmp_path / "c.db", lists=['My "Own" Tag\'s:|', "stories:,"])
    with Catalog.open(tmp_path / "c.db") as catalog:
        assert catalog.filter('"my ""own"" tag\'s" = \'x\'').tolist() == [1]
        assert catalog.filter('"end" = 2').tolist() == [2]
        assert catalog.filter("story = 's' AND Stories = 't'").tolist() == [1]
        assert catalog.filter("select = 'v'").tolist() == [2]


GENRES = "SELECT item FROM item_values WHERE field = 'genres' AND value"


@pytest.mark.parametrize(
    ("where", "sql"),
    [
        ("Year > 1990", 'items."year" > 1990'),
        ("genre = 'War'", f"items.\"row\" IN ({GENRES} = 'War')"),
        ("genre <> 'War'", f"items.\"row\" NOT IN ({GENRES} = 'War')"),
        ("NOT genre LIKE '%!%' ESCAPE '!'", f"NOT items.\"row\" IN ({GENRES} LIKE '%!%' ESCAPE '!')"),
        ("genres NOT IN ('a', \"b\")", f"items.\"row\" NOT IN ({GENRES} IN ('a', 'b'))"),
        ("genres = year", 'items."genres" = items."year"'),  # not a value
        ("genres NOT = 'a'", "items.\"genres\" NOT = 'a'"),  # not SQL either
        ("genres IN ('a',)", "items.\"genres\" IN ( 'a' , )"),
    ],
)
def test_the_sql_of_conditions(where: str, sql: str) -> None:
    assert compile_condition(where, ["year", "genres"], ["genres"]) == sql


def test_list_columns_have_a_plural_and_a_singular() -> None:
    names = columns_by_name(["genres", "stories", "country", "cast"], ["genres", "stories", "country", "cast"])
    assert names["genre"] == "genres"
    assert names["story"] == "stories"
    assert names["countries"] == "country"
    assert names["casts"] == "cast"
    assert columns_by_name(["genre", "genres"], ["genres"])["genre"] == "genre"  # a column of its own
