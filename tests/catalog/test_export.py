"""Whatever a table holds comes back equal after building and exporting it, or is refused with its line."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from genrec_edge.catalog import titles
from genrec_edge.catalog.edit import remove
from genrec_edge.catalog.export import export, in_order
from genrec_edge.catalog.writer import build
from genrec_edge.errors import CatalogError, UsageError
from tests.support.catalogs import catalog_content

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Record = dict[str, Any]

_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_TEXTS = st.text(_CHARACTERS, min_size=1, max_size=20)
_WORDS = st.sampled_from(
    ["NA", "n/a", "null", "None", "-", "nan", "[REC]", "a, b", "a|b", "{x}", '"', "'", "\u200c", "1,5 x"]
)
_SPELLED_MISSING = ["", "NA", "n/a", "NaN", "null", "None", "-", "\\N", "?"]
_MARKS = [("", "."), (",", "."), (".", ","), (" ", ","), ("'", ".")]
_LISTS = st.lists(st.text(_CHARACTERS, min_size=1, max_size=8), max_size=4)
_COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**7),
    "real": st.none()
    | st.floats(-1e12, 1e12, allow_nan=False).filter(lambda x: "e" not in repr(x))
    | st.decimals(0, 10**6, places=2).map(float),
    "text": st.none() | _TEXTS.map("x".__add__) | _WORDS,
    "genres": st.none() | _LISTS,
    "country": st.none() | _WORDS | _TEXTS,
}
_NOTHING = {"", "\\N", "(no genres listed)", None}


@dataclass(frozen=True)
class Table:
    """The values of a table, and a file that holds them: its text, and each cell as it is written there.

    `decimal` is the decimal mark where points stand between thousands, so that "1.000" has to be explained.
    """

    rows: list[Record]
    text: str
    written: list[Record]
    decimal: str | None = None


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a table of some columns of each type, written as JSON or as CSV in one of many ways."""
    rows: list[Record] = [
        {"id": f"i{i}", "title": draw(_TEXTS), "year": draw(st.none() | st.integers(-3000, 2100).filter(bool))}
        for i in range(draw(st.integers(1, 8)))
    ]
    for name, values in _COLUMNS.items():
        if draw(st.booleans()):
            for row in rows:
                row[name] = draw(values)
    if draw(st.booleans()):
        return Table(rows, _json_text(draw, rows), rows)
    missing = draw(st.sampled_from(_SPELLED_MISSING))
    group, decimal = draw(st.sampled_from(_MARKS))
    dump = draw(st.sampled_from([repr, json.dumps]))
    written = [
        {name: _cell(name, value, missing, {44: group, 46: decimal}, dump) for name, value in row.items()}
        for row in rows
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=draw(st.sampled_from(",;|")), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(written)
    return Table(rows, text.getvalue(), written, decimal if group == "." else None)


def _cell(name: str, value: Any, missing: str, marks: dict[int, str], dump: Callable[[Any], str]) -> str:
    if name in {"whole", "real"}:
        text = missing if value is None else f"{value:,}"
        return text if "e" in text or value is None else text.translate(marks)
    if isinstance(value, list):
        return dump(value)
    return "" if value is None else str(value)


def _json_text(draw: st.DrawFn, rows: list[Record]) -> str:
    if draw(st.booleans()):
        return json.dumps(rows, indent=draw(st.sampled_from([None, 1])))
    return draw(st.sampled_from(["", "\n"])).join(json.dumps(row) for row in rows)


def expected(table: Table, undecided: set[str]) -> list[Record]:
    """Return what the rules of the documents make of the rows; columns in `undecided` are texts, as written."""
    return [
        {name: _expected(name, written[name] if name in undecided else value) for name, value in row.items()}
        for row, written in zip(table.rows, table.written, strict=True)
        if titles.clean(row["title"])
    ]


def _expected(name: str, value: Any) -> Any:
    if isinstance(value, list):
        found: dict[str, str] = {}
        for text in (text.strip() for text in value):
            if text not in _NOTHING:
                found.setdefault(re.sub("[A-Z]", lambda match: match[0].lower(), text), text)
        return list(found.values())
    text = value.strip() if isinstance(value, str) else value
    return None if text in _NOTHING else text


def check_values(found: list[Record], rows: list[Record]) -> None:
    """Compare exported records with rows; a year in brackets has moved out of the title."""
    for record, row in zip(found, rows, strict=True):
        title, year = titles.split_year(titles.clean(row["title"]))
        if year is None or row["year"] not in {None, year}:
            title, year = titles.clean(row["title"]), row["year"]
        assert (record["title"], record["year"]) == (title, year)
        for name in row.keys() - {"title", "year"}:
            assert (record[name] or None) == (row[name] or None) or record[name] == row[name], name


@pytest.mark.slow
@pytest.mark.parametrize("end", ["csv", "jsonl"])
def test_what_a_table_holds_comes_back(end: str, tmp_path: Path, trials: Callable[[int, int], int]) -> None:
    n_equal = n_refused = 0
    source, catalog, out, lines = (tmp_path / name for name in ("source", "c.db", f"out.{end}", "lines.jsonl"))

    @seed(17)
    @settings(max_examples=trials(60, 2000), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(tables())
    def check(table: Table) -> None:
        nonlocal n_equal, n_refused
        source.write_text(table.text, encoding="utf-8", newline="")
        try:
            texts = ["country"] if "country" in table.rows[0] else []
            report = build(source, catalog, texts=texts, decimal=table.decimal, force=True)
        except CatalogError:
            assert not any(titles.clean(row["title"]) for row in table.rows)
            return
        except UsageError as e:
            if not re.search(r"(line|item) \d+", e.message):
                raise
            n_refused += 1
            return
        said = [decision.partition(": ") for decision in report.decisions]
        undecided = {name for name, _, text in said if text.startswith("text, as") or text.endswith("kept as text")}
        export(catalog, lines, force=True)
        records = [json.loads(line) for line in lines.read_text(encoding="utf-8").split("\n") if line]
        check_values(records, expected(table, undecided & {"whole", "real"}))
        content = catalog_content(catalog)
        build(out, catalog, **options_of(export(catalog, out, force=True).build_options), force=True)
        assert catalog_content(catalog) == content
        n_equal += 1

    check()
    assert n_refused * 20 <= n_equal


def options_of(build_options: Sequence[str]) -> dict[str, Any]:
    """Return options of the command line as arguments."""
    arguments: dict[str, list[str]] = {"texts": [], "lists": [], "no_lists": []}
    for option in build_options:
        flag, name = option.split(" ", 1)
        arguments[{"--text": "texts", "--list": "lists", "--no-list": "no_lists"}[flag]].append(name)
    return arguments


@pytest.mark.parametrize(
    ("cell", "message"),
    [("a\\u0000b", "line 2: text: .* NUL"), ("a\\ud800", "line 2: text: .* lone surrogate")],
)
def test_what_cannot_come_back_is_refused_with_its_line(cell: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text(f'{{"title": "x"}}\n{{"title": "y", "text": "{cell}"}}\n')
    with pytest.raises(UsageError, match=message):
        build(tmp_path / "s.jsonl", tmp_path / "c.db")
    assert not (tmp_path / "c.db").exists()


def test_columns_that_look_like_another_type_are_named(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,title,zip,themes,genres\n1,a,123,x,\n2,b,12a,y,a|b\n")
    build(tmp_path / "s.csv", tmp_path / "c.db", lists=["themes:/"], no_lists=["genres"])
    remove(tmp_path / "c.db", ["2"])
    with closing(sqlite3.connect(tmp_path / "c.db")) as connection, connection:
        connection.execute("UPDATE items SET genres = '[1]'")
    report = export(tmp_path / "c.db", tmp_path / "out.csv")
    assert (report.n_items, report.columns) == (1, ("id", "title", "year", "zip", "themes", "genres"))
    assert report.build_options == ("--text zip", "--no-list genres")
    assert (tmp_path / "out.csv").read_text().split("\n") == [
        '"id","title","year","zip","themes","genres"',
        '1,a,,123,"[""x""]",[1]',
        "",
    ]


def test_an_export_takes_nothing_away(nine_films_path: Path, tmp_path: Path) -> None:
    before = nine_films_path.read_bytes()
    (tmp_path / "link.csv").symlink_to(nine_films_path)
    (tmp_path / "hard.jsonl").hardlink_to(nine_films_path)
    for name, message in (
        ("link.csv", "over what is read"),
        ("hard.jsonl", "over what is read"),
        ("a.txt", "must end in"),
    ):
        with pytest.raises(UsageError, match=message):
            export(nine_films_path, tmp_path / name, force=True)
    assert nine_films_path.read_bytes() == before
    export(nine_films_path, tmp_path / "a.csv")
    with pytest.raises(UsageError, match="exists already"):
        export(nine_films_path, tmp_path / "a.csv")


@pytest.mark.parametrize(
    "values",
    [
        ["Science Fiction", "Action", "Fiction"],
        ["a", "a, b", "b"],
        ["a, b", "a", "b"],
        ["x", "xx", "xxx, x", "xx, xxx"],
        ["one"],
        [],
    ],
)
def test_values_are_found_in_their_order(values: list[str]) -> None:
    joined = ", ".join(values)
    found = in_order(joined, sorted(values))
    assert ", ".join(found) == joined
    assert sorted(found) == sorted(values)


def test_a_text_that_no_order_gives_keeps_all_values() -> None:
    many = [f"{'x, ' * n}x" for n in range(40)]
    assert sorted(in_order("something else", many)) == sorted(many)
