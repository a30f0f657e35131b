"""Filters: the rows that plain Python finds, and nothing but rows."""

from __future__ import annotations

import itertools
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.catalog import where as where_module
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.where_cost import is_cheap
from genrec_edge.catalog.where_tokens import tokenize
from genrec_edge.catalog.writer import build
from genrec_edge.errors import CatalogError, UsageError
from tests.support.where_bombs import bomb, grown

if TYPE_CHECKING:
    from collections.abc import Callable

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


BOMB = f"{grown('title', 4, 12)} LIKE '%{'a' * 190}b'"
"""A filter that takes minutes, in calls that SQLite cannot interrupt."""
LONG_SUM = " || ".join(["title"] * 900) + " = 'x'"
"""A filter that takes seconds, and is interrupted in this process."""


@pytest.mark.slow
@pytest.mark.parametrize("where", [BOMB, LONG_SUM])
def test_a_filter_that_takes_long_is_ended(where: str, films: Catalog) -> None:
    assert is_cheap(tokenize(where)) == (where == LONG_SUM)
    with pytest.raises(UsageError, match="takes more than 2 s"):
        films.filter(where)


def test_a_filter_does_not_pay_for_a_busy_machine(films: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    stalls = itertools.count(0.0, 60.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(stalls))
    assert len(films.filter("year > 0 OR " * 60 + "year > 0")) == films.n_items


def _peak_mib_of_children() -> float:
    """Return the most memory that one of the processes of this process has taken so far."""
    peaks = [0.0]
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            with suppress(OSError):  # it may have ended
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                peaks.append(int(found[1]) / 1024 if found else 0.0)
    return max(peaks)


@pytest.mark.slow
def test_no_filter_takes_long_or_much_memory(films: Catalog, trials: Callable[[int, int], int]) -> None:
    longest, peaks = 0.0, [0.0]
    for seed in range(trials(5, 116)):
        start = time.monotonic()
        with suppress(UsageError), where_module.ended_by(lambda: peaks.append(_peak_mib_of_children())):
            films.filter(bomb(seed))
        longest = max(longest, time.monotonic() - start)
    sys.stdout.write(f"longest {longest:.2f} s, largest process {max(peaks):.0f} MiB\n")
    assert longest < 20  # far above the limit of 2 s, far below what they take without one
    assert max(peaks) < 100


@pytest.mark.slow
def test_a_filter_finds_the_same_in_a_process_of_its_own(films: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = ["year >= 1990 AND genre = 'Comedy'", "title LIKE '%the%'", "cast != 'Tom Hanks'", "0", "year = 1.5"]
    here = [films.filter(where).tolist() for where in conditions]
    monkeypatch.setattr(where_module, "is_cheap", lambda _: False)
    assert [films.filter(f"({where})").tolist() for where in conditions] == here
    for where, message in [("max(year)", "misuse of aggregate"), ("year >", "syntax error")]:
        with pytest.raises(UsageError, match=message):
            films.filter(where)


def test_a_text_that_is_long_for_this_process_is_filtered_in_another(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"id,title,text\n1,Short,a\n2,Long,{'b' * 120_000}\n")
    build(tmp_path / "a.csv", tmp_path / "a.db")
    with Catalog.open(tmp_path / "a.db") as catalog:
        assert catalog.filter("length(text) > 100").tolist() == [2]


@pytest.mark.slow
def test_much_memory_is_refused(films: Catalog) -> None:
    value = f"'{'a' * 30}'"
    for letter in "bcd":
        value = f"replace({value}, '{chr(ord(letter) - 1)}', '{letter * 30}')"  # 810,000 characters in the end
    with pytest.raises(UsageError, match="more than 64 MiB of memory"):
        films.filter(f"max({', '.join(f'{value}||{i}' for i in range(95))}) > ''")


class _GivenUpError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("where", [BOMB, LONG_SUM])
@pytest.mark.parametrize("error", [_GivenUpError, KeyboardInterrupt])
def test_a_filter_is_ended_by_what_its_caller_raises(where: str, error: type[BaseException], films: Catalog) -> None:
    calls = iter(range(1_000_000))

    def give_up() -> None:
        if next(calls) == 3:
            raise error

    with where_module.ended_by(give_up), pytest.raises(error):
        films.filter(where)
    assert films.filter("year = 1999").size


@pytest.mark.slow
@pytest.mark.parametrize("where", [BOMB, LONG_SUM])
def test_ctrl_c_ends_a_filter(where: str, films_path: Path, trials: Callable[[int, int], int]) -> None:
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from genrec_edge.catalog.reader import Catalog; c = Catalog.open(sys.argv[1])\n"
        "c.filter('year = 1998'); print(flush=True)\n"
        "try: c.filter(sys.argv[2])\n"
        "except KeyboardInterrupt: print('interrupted', len(c.filter('year = 1999')) > 0)"
    )
    draw, longest = random.Random(1), 0.0
    for _ in range(trials(1, 20)):
        command = [sys.executable, "-c", program, str(films_path), where]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(draw.uniform(0.02, 0.8))
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            longest = max(longest, time.monotonic() - start)
        assert (out, err) == ("interrupted True\n", "")
    sys.stdout.write(f"longest after Ctrl-C {longest:.2f} s\n")


def test_without_a_process_of_its_own_such_a_filter_is_refused(films: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(UsageError, match="cannot be started"):
        films.filter("instr(title, 'no process')")
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(UsageError, match="cannot be started"):
        films.filter("instr(title, 'no process')")


def test_a_damaged_file_is_not_a_wrong_condition(films_path: Path, tmp_path: Path) -> None:
    data = bytearray(films_path.read_bytes())
    data[40_960:8_000_000] = b"\x55" * (8_000_000 - 40_960)
    path = tmp_path / "damaged.db"
    path.write_bytes(data)
    with pytest.raises(CatalogError, match="damaged"), Catalog.open(path) as catalog:
        catalog.filter("year > 1990 AND title LIKE '%a%'")
