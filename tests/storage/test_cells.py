"""Cells as values: lists in them, and years."""

from __future__ import annotations

import pytest

from genrec_edge.storage.cells import JSON_LIST, parse_year, split_list


@pytest.mark.parametrize(
    ("cell", "separator", "values"),
    [
        ("Action|Comedy||Action", "|", ["Action", "Comedy"]),
        (" a , b ", ",", ["a", "b"]),
        ('["a, b", "c"]', ",", ["a, b", "c"]),
        ([{"id": 1, "name": "Drama"}, {"id": 2}], JSON_LIST, ["Drama"]),
        ([1, None, "x", 1], JSON_LIST, ["1", "x"]),
        ("plain", JSON_LIST, ["plain"]),
        (None, "|", []),
        ("\ud800", "|", ["?"]),
    ],
)
def test_split_list(cell: object, separator: str, values: list[str]) -> None:
    assert split_list(cell, separator) == values


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
    ],
)
def test_parse_year(cell: object, year: int | None) -> None:
    assert parse_year(cell) == year
