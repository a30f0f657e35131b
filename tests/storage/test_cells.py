"""Cells as values: lists in them, and years."""

from __future__ import annotations

import pytest

from genrec_edge.storage.cells import JSON_LIST, parse_year, split_list

BIG = "12345678901234567890123"


@pytest.mark.parametrize(
    ("cell", "separator", "values"),
    [
        ("Action|Comedy||Action", "|", ["Action", "Comedy"]),
        (" a , b ", ",", ["a", "b"]),
        ('["a, b", "c"]', ",", ["a, b", "c"]),
        ([{"id": 1, "name": "Drama"}, {"id": 2}], JSON_LIST, ["Drama", '{"id": 2}']),
        ("(no genres listed)", "|", []),
        ("Drama|drama|DRAMA|Äb|äb", "|", ["Drama", "Äb", "äb"]),
        ([1, None, "x", 1], JSON_LIST, ["1", "x"]),
        ([5, True], JSON_LIST, ["5", "true"]),
        ("[5, true]", JSON_LIST, ["5", "true"]),
        ("[5, True]", JSON_LIST, ["5", "true"]),
        ("[1, 1.0, 1.50, 1e3, 1e400, 12345678901234567890123]", JSON_LIST, ["1", "1.0", "1.50", "1e3", "1e400", BIG]),
        ("[[1.50, null], {'a': 1e3}]", JSON_LIST, ["[1.50, null]", '{"a": 1e3}']),
        ([[]], JSON_LIST, ["[]"]),
        ({}, JSON_LIST, []),
        ("{}", "|", []),
        ("{A|B}", "|", ["{A", "B}"]),
        ("plain", JSON_LIST, ["plain"]),
        (None, "|", []),
    ],
)
def test_split_list(cell: object, separator: str, values: list[str]) -> None:
    assert split_list(cell, separator) == values


def test_lists_without_quotes_are_read_where_the_column_has_them() -> None:
    assert split_list('{A,"B, C",NULL}', JSON_LIST, may_be_bare=True) == ["A", "B, C"]
    assert split_list("[A, B]", JSON_LIST, may_be_bare=True) == ["A", "B"]
    assert split_list("[A, B]", JSON_LIST) == ["[A, B]"]


def test_what_is_nested_too_deeply_is_refused() -> None:
    cell: list[object] = []
    for _ in range(100_000):
        cell = [cell]
    with pytest.raises(ValueError, match="nested too deeply"):
        split_list([cell], JSON_LIST)


@pytest.mark.parametrize("cell", ["a|\ud800", ["a", "b\0"], '["\\ud800"]'])
def test_what_no_text_can_be_is_refused(cell: object) -> None:
    with pytest.raises(ValueError, match=r"surrogate|NUL"):
        split_list(cell, "|")


@pytest.mark.parametrize(
    ("cell", "year"),
    [
        ("1995", 1995),
        (1995, 1995),
        (1995.0, 1995),
        ("1995-11-22", 1995),
        ("22/11/1995", 1995),
        (None, None),
        ("n/a", None),
        ("19951122", None),
        ("0000", None),
        (True, None),
        ("975", 975),
        ("-1750.0", -1750),
        (-720.0, -720),
        ("\u2212720", -720),
        ("+1066", 1066),
        ("-0044-03-15", -44),
        ("0975-01-01", 975),
        ("720 BC", -720),
        ("c. 1750 B.C.", -1750),
        ("476 CE", 476),
        ("A.D. 79", 79),
        ("ad 79", 79),
        ("c. 79 n. Chr.", 79),
        ("1066 AD", 1066),
        ("12 cents", None),
        ("1995.5", 1995),
        ("95", 95),
        ("-100000", None),
    ],
)
def test_parse_year(cell: object, year: int | None) -> None:
    assert parse_year(cell) == year
