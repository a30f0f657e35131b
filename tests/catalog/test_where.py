"""Filters: the rows that plain Python finds, and nothing but rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.catalog import where as where_module
from genrec_edge.catalog.reader import Catalog
from genrec_edge.errors import CatalogError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(films: Catalog) -> list[Row]:
    """Every film as a dict; list columns as sets of lower-case values, read from the text."""
    found = films.items([row for row, _, _ in films.titles()])
    with closing(sqlite3.connect(films.path)) as connection:
        lists: dict[tuple[int, str], set[str]] = {}
        for item, field, value in connection.execute("SELECT * FROM item_values"):
            lists.setdefault((item, field), set()).add(value.lower())
    return [
        {"row": item.row, "id": item.id, "title": item.title, "year": item.year, **item.columns}
        | {f"{name}_set": lists.get((item.row, name), set()) for name in films.list_columns}
        for item in found
    ]


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("year >= 1990 AND genre = 'Comedy'", lambda r: r["year"] >= 1990 and "comedy" in r["genres_set"]),
        ("genre = 'Comedy' AND genre = 'Drama'", lambda r: {"comedy", "drama"} <= r["genres_set"]),
        ("genre == 'comedy' OR GENRES = 'war'", lambda r: bool({"comedy", "war"} & r["genres_set"])),
        ("genre != 'Horror'", lambda r: "horror" not in r["genres_set"]),
        (
            "genre <> 'Horror' and year = 1980",
            lambda r: "horror" not in r["genres_set"] and r["year"] == 1980,
        ),
        ("NOT genre = 'Horror'", lambda r: "horror" not in r["genres_set"]),
        (
            "not (genre = 'Horror' or year < 2000)",
            lambda r: "horror" not in r["genres_set"] and r["year"] >= 2000,
        ),
        ("genre IN ('War', 'Western')", lambda r: bool({"war", "western"} & r["genres_set"])),
        ("genre NOT IN ('Drama', 'Comedy')", lambda r: not {"drama", "comedy"} & r["genres_set"]),
        ("cast LIKE '%hanks'", lambda r: any(v.endswith("hanks") for v in r["cast_set"])),
        ("director NOT LIKE 'a%'", lambda r: not any(v.startswith("a") for v in r["director_set"])),
        ("cast = 'Tom Hanks'", lambda r: "tom hanks" in r["cast_set"]),
        ("\"cast\" = 'Tom Hanks'", lambda r: "tom hanks" in r["cast_set"]),
        ("`genres` = 'War' AND [year] = 1970", lambda r: "war" in r["genres_set"] and r["year"] == 1970),
        ('genre = "War"', lambda r: "war" in r["genres_set"]),
        ("countries = 'France'", lambda r: "france" in r["country_set"]),
        ("genre IS NULL", lambda r: not r["genres_set"]),
        ("genre = 'War' || ''", lambda r: r["genres"] == "War"),
        ("length(genre) > 40", lambda r: len(r["genres"] or "") > 40),
        ("genre || '' = 'Drama'", lambda r: r["genres"] == "Drama"),
        ("runtime BETWEEN 60 AND 70", lambda r: 60 <= (r["runtime"] or 0) <= 70),
        ("cast(year AS TEXT) = '1999'", lambda r: r["year"] == 1999),
        ("title = 'It''s a Wonderful Life'", lambda r: r["title"] == "It's a Wonderful Life"),
        ("title COLLATE NOCASE = 'heat'", lambda r: r["title"].lower() == "heat"),
        (
            "lower(title) GLOB 'the *' AND year % 7 = 0",
            lambda r: r["title"].lower().startswith("the ") and r["year"] % 7 == 0,
        ),
        (
            "CASE WHEN year > 2000 THEN genre = 'War' ELSE 0 END",
            lambda r: r["year"] > 2000 and "war" in r["genres_set"],
        ),
        ("genre LIKE '%-fi' ESCAPE '!'", lambda r: any(v.endswith("-fi") for v in r["genres_set"])),
        ("year IN (1950, 1951,1952)", lambda r: r["year"] in {1950, 1951, 1952}),
        ("title = 'no such film'", lambda r: False),
        ("1", lambda r: True),
        ("id = 'tt0032181'", lambda r: r["id"] == "tt0032181"),
    ],
)
def test_the_rows_that_python_finds(where: str, holds: Callable[[Row], bool], films: Catalog, rows: list[Row]) -> None:
    found = films.filter(where)
    assert found.dtype == "int64"
    assert found.tolist() == [row["row"] for row in rows if holds(row)]


CONDITIONS = st.recursive(
    st.sampled_from(["genre = 'Drama'", "genre != 'War'", "genre IN ('War', 'Crime')", "year > 1980", "runtime < 100"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        inner.map(lambda c: f"NOT ({c})"),
    ),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=CONDITIONS)
def test_combinations(condition: str, films: Catalog, rows: list[Row]) -> None:
    python = (
        condition.replace("genre = 'Drama'", "'drama' in g")
        .replace("genre != 'War'", "'war' not in g")
        .replace("genre IN ('War', 'Crime')", "bool({'war', 'crime'} & g)")
        .replace("year > 1980", "y > 1980")
        .replace("runtime < 100", "t < 100")
        .replace("AND", "and")
        .replace("OR", "or")
        .replace("NOT", "not")
    )
    code = compile(python, "condition", "eval")
    known = [row for row in rows[:500] if row["runtime"] is not None]  # NULL is neither below 100 nor not
    expected = [
        row["row"] for row in known if eval(code, {"g": row["genres_set"], "y": row["year"], "t": row["runtime"]})
    ]
    rows_known = {row["row"] for row in known}
    assert [row for row in films.filter(condition).tolist() if row in rows_known] == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("max(year)", "misuse of aggregate"),
        ("year >", "syntax error"),
        ("year year", "syntax error"),
        ("= 1", "syntax error"),
        ("(" * 3000 + "1" + ")" * 3000, "parser stack overflow|cannot be used"),
    ],
)
def test_errors_of_sqlite_are_about_the_condition(where: str, message: str, films: Catalog) -> None:
    with pytest.raises(UsageError, match=message) as error:
        films.filter(where)
    assert error.value.exit_code == 2
    assert len(error.value.message) < 400
    assert "\n" not in error.value.message


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(
        st.sampled_from(
            [
                "genre",
                "year",
                "=",
                "'a'",
                "(",
                ")",
                "IN",
                "NOT",
                "AND",
                "1",
                ",",
                "SELECT",
                "FROM",
                "meta",
                "items",
                "value",
                "--",
                ";",
                "/*",
                '"',
                "'",
                "lower",
                "UNION",
                "item_values",
                "*",
                ".",
                "LIKE",
                "ESCAPE",
                "\x00",
                "é",
            ]
        ),
        max_size=12,
    )
)
def test_nonsense_is_refused_or_harmless(words: list[str], films: Catalog) -> None:
    before = films.revision
    try:
        found = films.filter(" ".join(words))
    except UsageError:
        return
    assert set(found.tolist()) <= set(range(1, films.n_items + 1))
    assert films.revision == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT value FROM meta",
        "SELECT name FROM sqlite_master",
        "PRAGMA table_info(items)",
        "ATTACH ':memory:' AS x",
        "DELETE FROM items",
        "SELECT load_extension('x') FROM items",
        "SELECT hex(title) FROM items",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t",
    ],
)
def test_the_authorizer_refuses_other_statements(query: str, films_path: Path) -> None:
    with closing(sqlite3.connect(films_path)) as connection:
        where_module._restrict(connection)
        with pytest.raises(sqlite3.DatabaseError, match=r"prohibited|not authorized"):
            connection.execute(query)


@pytest.mark.slow
def test_a_filter_that_never_ends_is_ended(films: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))  # a second later each time it is read; the limit is 2 s
    monkeypatch.setattr(where_module, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    grown = '"cast"'
    for letter in "aei":
        grown = f"replace({grown}, '{letter}', '{'aei' * 12}')"
    with pytest.raises(UsageError, match="takes more than"):
        films.filter(" OR ".join(f"instr({grown}, 'x{i}')" for i in range(60)))
    assert next(clock) == 4  # read at the start, and then until 3 s have passed


def test_a_damaged_file_is_not_a_wrong_condition(films_path: Path, tmp_path: Path) -> None:
    data = bytearray(films_path.read_bytes())
    data[40_960:8_000_000] = b"\x55" * (8_000_000 - 40_960)
    path = tmp_path / "damaged.db"
    path.write_bytes(data)
    with pytest.raises(CatalogError, match="damaged"), Catalog.open(path) as catalog:
        catalog.filter("year > 1990 AND title LIKE '%a%'")
