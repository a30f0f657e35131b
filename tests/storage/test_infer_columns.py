"""What columns hold: types, missing values, lists, and what is said of it."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage.cells import JSON_LIST
from genrec_edge.storage.infer_columns import Choices, infer_columns
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.storage.columns import Column


def profile_of(text: str, tmp_path: Path, **lists: str | None) -> dict[str, tuple[str, str | None]]:
    path = tmp_path / "profile.csv"
    path.write_text(text, encoding="utf-8")
    found = infer_columns(open_source(path), Choices(lists=lists))
    return {column.name: (column.kind, column.separator) for column in found}


def table(**columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "0"], "INTEGER"),
        (["1", "", "\\N"], "INTEGER"),
        (["1", "2.5"], "REAL"),
        (["1e3", "2"], "REAL"),
        (["007", "8"], "TEXT"),
        (["1", "x"], "TEXT"),
        (["123456789012345678901", "1"], "TEXT"),
        (["nan", "1"], "INTEGER"),
        (["nan", "x"], "TEXT"),
        (["+1", "1"], "TEXT"),
        (["٣", "1"], "TEXT"),
        (["", ""], "TEXT"),
    ],
)
def test_types_are_guessed_from_all_cells(cells: list[str], kind: str, tmp_path: Path) -> None:
    late = ["", *[""] * 1500, *cells]
    assert profile_of(table(a=late, b=["x"] * len(late)), tmp_path)["a"] == (kind, None)


@pytest.mark.parametrize(
    ("name", "cells", "separator"),
    [
        ("genres", ["a|b", "c"], "|"),
        ("Genre", ["a, b", "c"], ","),
        ("director", ["A", "B"], None),
        ("country", ["US; FR", "Korea, Republic of; FR"], ";"),
        ("title", ["a|b", "c"], None),
        ("anything", ['["a", "b"]', '["c"]'], JSON_LIST),
        ("anything", ["[a", "b]"], None),
    ],
)
def test_lists_are_recognised(name: str, cells: list[str], separator: str | None, tmp_path: Path) -> None:
    assert profile_of(table(**{name: cells, "x": ["1", "2"]}), tmp_path)[name] == ("TEXT", separator)


def test_lists_can_be_declared(tmp_path: Path) -> None:
    text = table(words=["a/b", "c"], more=["x;y", "z"])
    found = profile_of(text, tmp_path, words="/", MORE=None)
    assert found == {"words": ("TEXT", "/"), "more": ("TEXT", ";")}
    with pytest.raises(UsageError, match="no column 'mores'"):
        profile_of(text, tmp_path, mores=None)


def decisions_of(text: str, tmp_path: Path, **choices: Any) -> tuple[Column, ...]:
    path = tmp_path / "profile.csv"
    path.write_text(text, encoding="utf-8")
    return tuple(infer_columns(open_source(path), Choices(**choices)))


def test_a_list_can_be_declared_to_be_none(tmp_path: Path) -> None:
    text = table(genres=["a|b", "c"], themes=['["a"]', '["b"]'])
    genres, themes = decisions_of(text, tmp_path, no_lists=["GENRES", "themes"])
    assert (genres.separator, themes.separator) == (None, None)
    assert themes.value('["a"]') == '["a"]'
    with pytest.raises(UsageError, match="cannot be a list and none"):
        decisions_of(text, tmp_path, lists={"genres": None}, no_lists=["genres"])
    with pytest.raises(UsageError, match="no column 'genre'"):
        decisions_of(text, tmp_path, no_lists=["genre"])


@pytest.mark.parametrize("word", ["NA", "n/a", "NaN", "null", "None", "-", "?", "(no genres listed)"])
def test_words_are_missing_among_numbers_and_dates_and_texts_among_texts(word: str, tmp_path: Path) -> None:
    text = table(
        runtime=["117", word, "9"], released=["1995-11-22", "1979-05", word], code=["US", word, "FR"], none=[word] * 3
    )
    runtime, released, code, none = decisions_of(text, tmp_path)
    assert [(c.kind, c.has_words_for_missing) for c in (runtime, released)] == [("INTEGER", True), ("TEXT", True)]
    assert [column.value(word) for column in (runtime, released)] == [None, None]
    if word != "(no genres listed)":
        assert [column.value(word) for column in (code, none)] == [word, word]
        assert runtime.decisions == (f"{word!r} (1) taken as missing",)
        assert code.decisions == (f"{word!r} (1) kept as text",)
    assert (runtime.n_missing, released.n_missing) == (1, 1)


@pytest.mark.parametrize(
    ("cells", "choices", "kind", "decision"),
    [
        (["117", "1,000,000"], {}, "INTEGER", "numbers with '.' before decimals, ',' between thousands"),
        (["117", "1,000"], {}, "TEXT", "text, as '1,000' may be 1.0 or 1000"),
        (["117", "1,000"], {"decimal": "."}, "INTEGER", "numbers with '.' before decimals, ',' between thousands"),
        (["1.234", "5.678"], {}, "REAL", "'5.678' is read with a decimal point"),
        (["1.234", "5.678"], {"decimal": ","}, "INTEGER", "numbers with ',' before decimals, '.' between thousands"),
        (["117", "9 min"], {}, "TEXT", "text, as '9 min' is not a number (line 3)"),
        (["unclear", "7", "8", "9"], {}, "TEXT", "text, as 'unclear' is not a number (line 2)"),
        (["99999999999999999999", "5"], {}, "TEXT", "text, as '99999999999999999999' has more than 64 bits (line 2)"),
        (["[1]", "x"], {}, "TEXT", "text, though 1 of 2 values look like lists; the first other one is 'x' (line 3)"),
        (
            ["x", "[1]", "[2]"],
            {},
            "TEXT",
            "text, though 2 of 3 values look like lists; the first other one is 'x' (line 2)",
        ),
        (
            ["{'A'}", "['A' ... 'B']"],
            {},
            "TEXT",
            "text, though 1 of 2 values look like lists; the first other one is \"['A' ... 'B']\" (line 3)",
        ),
        (
            ["90 min", "95 min", "1 h"],
            {},
            "TEXT",
            "text, as '90 min' is not a number (line 2); 3 of 3 values begin with a number",
        ),
        (
            ["1.5K", "2K", "3.25M"],
            {},
            "TEXT",
            "text, as '1.5K' is not a number (line 2); 3 of 3 values begin with a number",
        ),
        (
            ["1 234 kB", "12 kB"],
            {},
            "TEXT",
            "text, as '1 234 kB' is not a number (line 2); 2 of 2 values begin with a number",
        ),
        (
            ["unclear", "9 min", "-7 min", "8"],
            {},
            "TEXT",
            "text, as 'unclear' is not a number (line 2); 3 of 4 values begin with a number, such as '9 min'",
        ),
        (["{'name': 'a'}", "{'name': 'b'}"], {}, "TEXT", "the names of its objects"),
    ],
)
def test_what_was_not_obvious_is_said(
    cells: list[str], choices: dict[str, Any], kind: str, decision: str, tmp_path: Path
) -> None:
    column, _ = decisions_of(table(a=cells, b=["x"] * len(cells)), tmp_path, **choices)
    assert (column.kind, column.decisions) == (kind, (decision,))


def test_other_columns_show_the_decimal_mark(tmp_path: Path) -> None:
    votes, score = decisions_of(table(votes=["1,234", "5"], score=["8.5", "7"]), tmp_path)
    assert (votes.kind, votes.value("1,234"), score.kind) == ("INTEGER", 1234, "REAL")
    assert votes.decisions == ("numbers with '.' before decimals, ',' between thousands, as in other columns",)
    (votes, _, _) = decisions_of(table(votes=["1,234", "5"], a=["8.5", "7"], b=["1,5", "2"]), tmp_path)
    assert votes.kind == "TEXT"


def test_texts_can_be_declared(tmp_path: Path) -> None:
    (column, _) = decisions_of(table(zip=["12345", "1"], b=["x", "y"]), tmp_path, texts=["zip"])
    assert (column.kind, column.value("12345")) == ("TEXT", "12345")


def test_examples_missing_and_years(tmp_path: Path) -> None:
    text = table(year=["-1750.0", "", "975", "2001"], n=["10000", "1", "2", "3"])
    year, n = decisions_of(text, tmp_path)
    assert (year.n_missing, year.examples, year.are_years) == (1, ("-1750.0", "975", "2001"), True)
    assert not n.are_years
    with pytest.raises(UsageError, match="`decimal` must be"):
        decisions_of(text, tmp_path, decimal="x")


def test_native_values_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    records = [
        {
            "b": True,
            "mixed": 1,
            "big": 2**70,
            "nan": float("nan"),
            "o": {"name": "x", "id": 1},
            "tags": ["a"],
            "inf": 1.5,
        },
        {"b": False, "mixed": "x", "big": 1, "nan": 2, "o": {"name": "y"}, "tags": "b", "inf": float("inf")},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    found = {column.name: column for column in infer_columns(open_source(path))}
    assert {name: (c.kind, c.separator) for name, c in found.items()} == {
        "b": ("INTEGER", None),
        "mixed": ("TEXT", None),
        "big": ("TEXT", None),
        "nan": ("INTEGER", None),
        "o": ("TEXT", None),
        "tags": ("TEXT", JSON_LIST),
        "inf": ("TEXT", None),
    }
    assert found["nan"].n_missing == 1
    assert found["o"].value({"name": "x", "id": 1}) == "x"
    assert found["big"].value(2**70) == str(2**70)
    assert found["inf"].decisions == ("text, as Infinity is not finite (line 2)",)
    said = "1 of 2 values are written as lists; the first other one is 'b' (line 2)"
    assert (found["tags"].decisions, found["tags"].values("b, c")) == ((said,), ["b, c"])


@pytest.mark.parametrize(("first", "second"), [("5", "true"), ("true", "5"), ("2.50", "false"), ("true", '"5"')])
def test_true_and_numbers_are_not_mixed(first: str, second: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'[{{"x": {first}}}, {{"x": {second}}}]')
    source = open_source(path)
    (column,) = infer_columns(source)
    assert [column.value(*cells) for _, cells in source.rows()] == [first, second.strip('"')]
    assert len(column.decisions) == 1
    assert column.decisions[0].startswith("text, as ")
    assert column.decisions[0].endswith("(item 2)")


LISTS = {
    "set": ["{'A', 'B'}", '{"A"}', "set()"],
    "frozenset": ["frozenset({'A', 'B'})", "frozenset({'A'})", "frozenset()"],
    "array": ["array(['A', 'B'], dtype=object)", "array(['A'], dtype='<U1')", "array([], dtype=object)"],
    "numpy": ["['A'\n 'B']", "['A']", "[]"],
    "deque": ["deque(['A', 'B'])", "deque(['A'], maxlen=2)", "deque([])"],
    "OrderedSet": ["OrderedSet(['A', 'B'])", "OrderedSet(['A'])", "OrderedSet()"],
    "PostgreSQL": ['{"A",B}', "{A}", "{}"],
    "brackets": ["[A, B]", "[A]", "[]"],
    "mixed": ["{'A', 'B'}", "['A']", "{}"],
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("name", ["anything", "genres"])
def test_lists_in_other_notations(name: str, kind: str, tmp_path: Path) -> None:
    column, _ = decisions_of(table(**{name: LISTS[kind], "b": ["x"] * 3}), tmp_path)
    assert [column.values(cell) for cell in LISTS[kind]] == [["A", "B"], ["A"], []]
    bare = {"PostgreSQL": '{"A",B}', "brackets": "[A, B]"}.get(kind)
    assert column.decisions == (() if bare is None else (f"lists without quotes, such as {bare!r} (line 2)",))


@pytest.mark.parametrize("odd", ["A, B", "[A, B", "[A, [B]]", "{id: 1}", "[A, B] x", "['A', B", "[A,,B]"])
def test_one_odd_cell_makes_no_list(odd: str, tmp_path: Path) -> None:
    column, _ = decisions_of(table(a=["[A, B]", "[C]", odd], b=["x"] * 3), tmp_path)
    assert (column.separator, column.value("[A, B]")) == (None, "[A, B]")
    said = f"text, though 2 of 3 values look like lists; the first other one is {odd!r} (line 4)"
    assert column.decisions == (said,)


def test_objects_among_lists_are_others(tmp_path: Path) -> None:
    column, _ = decisions_of(table(a=["['A']", "{'id': 1}"], b=["x"] * 2), tmp_path)
    said = "text, though 1 of 2 values look like lists; the first other one is \"{'id': 1}\" (line 3)"
    assert (column.separator, column.decisions) == (None, (said,))


def test_a_single_text_in_brackets_is_no_list(tmp_path: Path) -> None:
    column, country = decisions_of(table(a=["[REC]", "{x}"], country=["[unknown]", "Korea, South"]), tmp_path)
    assert (column.separator, column.decisions) == (None, ())
    assert (country.separator, country.may_be_bare) == (None, False)
    assert country.value("[unknown]") == "[unknown]"


def test_other_cells_of_a_list_column_are_read_with_their_separator(tmp_path: Path) -> None:
    cells = ['["A, B", "C"]', "D|E", "{F,G}"]
    genres, _ = decisions_of(table(genres=cells, b=["x"] * 3), tmp_path)
    assert [genres.values(cell) for cell in cells] == [["A, B", "C"], ["D", "E"], ["F", "G"]]
    assert genres.decisions == (
        "lists without quotes, such as '{F,G}' (line 4)",
        "2 of 3 values are written as lists; the first other one is 'D|E' (line 3)",
    )


def test_a_repeated_key_in_a_cell_is_refused_in_lists_and_said_of_texts(tmp_path: Path) -> None:
    cells = ['[{"name": "A"}]', '[{"name": "B", "name": "C"}]']
    with pytest.raises(UsageError, match="line 3: genres: the key 'name' stands twice in one object"):
        decisions_of(table(genres=cells, b=["x"] * 2), tmp_path)
    column, _ = decisions_of(table(a=cells, b=["x"] * 2), tmp_path)
    assert column.value(cells[1]) == cells[1]
    assert column.decisions[-1] == "text, as the key 'name' stands twice in one object (line 3)"


@pytest.mark.parametrize(
    "cells", [["3f2a", "4b9c", "5d1e"], ["1995-11-22", "2001-02-03"], ["12 Monkeys", "Heat", "Alien"]]
)
def test_nothing_is_said_of_texts_that_are_no_numbers(cells: list[str], tmp_path: Path) -> None:
    column, _ = decisions_of(table(a=cells, b=["x"] * len(cells)), tmp_path)
    assert (column.kind, column.decisions) == ("TEXT", ())
