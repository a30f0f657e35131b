"""Cells of a column whose type is known."""

from __future__ import annotations

import pytest

from genrec_edge.storage.columns import Column
from genrec_edge.storage.numbers import NumberFormat
from genrec_edge.storage.user_json import WrittenFloat

NUMBERS = Column("n", 0, "INTEGER", has_words_for_missing=True)
TEXTS = Column("t", 0, "TEXT")


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        (NUMBERS, " 5 ", 5),
        (NUMBERS, "1.5", 1.5),
        (NUMBERS, "n/a", None),
        (Column("n", 0, "INTEGER", are_bools=True), True, 1),
        (Column("o", 0, "TEXT", has_objects=True), {"name": True}, "true"),
        (TEXTS, WrittenFloat("1.50"), "1.50"),
        (TEXTS, {"a": [WrittenFloat("1e3")]}, '{"a": [1e3]}'),
        (Column("n", 0, "REAL"), WrittenFloat("1.50"), 1.5),
        (NUMBERS, float("nan"), None),
        (NUMBERS, None, None),
        (Column("n", 0, "INTEGER", numbers=NumberFormat(".", ",", "€")), "1.234 €", 1234),
        (TEXTS, " a ", "a"),
        (TEXTS, "NA", "NA"),
        (TEXTS, 5, "5"),
        (TEXTS, 1.5, "1.5"),
        (TEXTS, False, "false"),
        (TEXTS, {"name": "x"}, '{"name": "x"}'),
        (TEXTS, ["é"], '["é"]'),
        (TEXTS, b"\x00", None),
        (Column("o", 0, "TEXT", has_objects=True), "{'name': 'x'}", "x"),
        (Column("d", 0, "TEXT", has_words_for_missing=True), "-", None),
    ],
)
def test_values(column: Column, cell: object, value: object) -> None:
    found = column.value(cell)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (NUMBERS, "many", "'many' is not a number"),
        (NUMBERS, "1,000", "'1,000' is not a number"),
        (NUMBERS, True, "true is not a number"),
        (NUMBERS, [1], r"\[1\] is not a number"),
        (NUMBERS, 2**63, "9223372036854775808 is not a number"),
        (NUMBERS, float("inf"), "Infinity is not a number"),
        (TEXTS, "a\0", "NUL"),
        (TEXTS, "\udfff", "surrogate"),
    ],
)
def test_cells_of_another_type_are_refused(column: Column, cell: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        column.value(cell)


@pytest.mark.parametrize(
    ("column", "cell", "item_id"),
    [
        (TEXTS, "007", "007"),
        (TEXTS, "NA", "NA"),
        (TEXTS, " x ", "x"),
        (NUMBERS, 7, "7"),
        (TEXTS, 7.0, "7"),
        (TEXTS, "7.0", "7.0"),
        (Column("i", 0, "REAL", are_whole=True), "7.0", "7"),
        (Column("i", 0, "REAL"), "7.0", "7.0"),
        (Column("i", 0, "REAL", are_whole=True), "9007199254740993.0", "9007199254740993"),
        (TEXTS, WrittenFloat("9007199254740993.0"), "9007199254740993"),
        (TEXTS, WrittenFloat("12345678901234567.9"), "12345678901234567.9"),
        (TEXTS, "", None),
        (TEXTS, None, None),
    ],
)
def test_ids(column: Column, cell: object, item_id: str | None) -> None:
    assert column.id(cell) == item_id


@pytest.mark.parametrize("cell", [True, [1], {"a": 1}, b"x", "a\x1bb", "a\nb", "\0"])
def test_what_is_no_id(cell: object) -> None:
    with pytest.raises(ValueError, match=r"neither|control|NUL"):
        TEXTS.id(cell)
