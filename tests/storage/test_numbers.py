"""Numbers with marks: what a column decides, and what stays undecided."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.storage.numbers import NumberCollector, NumberFormat, is_missing, parse_plain


def collected(cells: list[str], decimal: str | None = None, other: str | None = None) -> tuple[str, list[Any]] | str:
    """Return the kind and the values of a column, or why it has none."""
    collector = NumberCollector(decimal)
    for cell in cells:
        if not collector.add(cell):
            return collector.reason
    numbers = collector.format(other)
    return collector.reason if numbers is None else (collector.kind, [numbers.parse(cell) for cell in cells])


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["98,765", "1,234,567", "5"], "INTEGER", [98765, 1234567, 5]),
        (["1.234,5", "7"], "REAL", [1234.5, 7]),
        (["1.234", "12.345.678"], "REAL", [1234, 12345678]),
        (["12 %", "5%"], "INTEGER", [12, 5]),
        (["$1,234.50", "$5"], "REAL", [1234.5, 5]),
        (["€ 1.234,50", "€2,5"], "REAL", [1234.5, 2.5]),
        (["12 USD", "1 USD"], "INTEGER", [12, 1]),
        (["1 234", "1\u202f234\u00a0567,5"], "REAL", [1234, 1234567.5]),
        (["1'234", "1\u2019234\u2019567"], "INTEGER", [1234, 1234567]),
        (["1,23,456", "7"], "INTEGER", [123456, 7]),
        (["0,5", "1,25"], "REAL", [0.5, 1.25]),
        (["0,123", "1,234"], "REAL", [0.123, 1.234]),
        (["1,234", "8.5"], "REAL", [1234, 8.5]),
        (["-$5", "$-6", "\u2212$7"], "INTEGER", [-5, -6, -7]),
        ([".5", "1.5"], "REAL", [0.5, 1.5]),
        (["9223372036854775807", "-9223372036854775808"], "INTEGER", [2**63 - 1, -(2**63)]),
    ],
)
def test_marks_are_decided_over_the_column(cells: list[str], kind: str, values: list[float]) -> None:
    for order in (cells, cells[::-1]):
        found = collected(order)
        assert found == (kind, values if order is cells else values[::-1])


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["1,234", "5"], "'1,234' may be 1.234 or 1234"),
        (["1.234", "1,234"], "'1,234' may be 1.234 or 1234"),
        (["8.5", "7,5"], "'7,5' and points before decimals do not go together"),
        (["12 %", "5"], "'12 %' and '5' have different units"),
        (["$5", "€6"], "'$5' and '€6' have different units"),
        (["9223372036854775808"], "more than 64 bits"),
        (["9007199254740993", "0.5"], "cannot hold 9007199254740993 beside it"),
        (["1e999"], "more than 64 bits"),
        (["007"], "'007' cannot be read as a number"),
        (["1,234,56"], "cannot be read as a number"),
        (["+1"], "'+1' is not a number"),
        (["٣"], "is not a number"),
        (["1_000"], "is not a number"),
        (["117 min"], "is not a number"),
    ],
)
def test_what_cannot_be_decided_is_said(cells: list[str], reason: str) -> None:
    collector = NumberCollector()
    if all(collector.add(cell) for cell in cells) and collector.format() is not None:
        assert collector.kind == "TEXT"
    assert reason in collector.reason


def test_the_decimal_mark_may_be_known() -> None:
    assert collected(["1,234", "5"], other=".") == ("INTEGER", [1234, 5])
    assert collected(["1,234", "5"], decimal=",") == ("REAL", [1.234, 5])
    assert collected(["1.234", "5"], decimal=",") == ("INTEGER", [1234, 5])
    assert collected(["1.234", "5"], decimal=".") == ("REAL", [1.234, 5])


@given(
    numbers=st.lists(st.integers(-(10**12), 10**12) | st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=8),
    marks=st.sampled_from([(",", "."), (".", ","), (" ", ","), (" ", "."), ("'", "."), ("\u00a0", ",")]),
    unit=st.sampled_from(["", "%", " %", "€", " EUR"]),
)
def test_what_is_written_with_marks_is_read_or_refused(numbers: list[Any], marks: tuple[str, str], unit: str) -> None:
    written = [f"{number:,}".translate({ord(","): marks[0], ord("."): marks[1]}) + unit for number in numbers]
    found = collected(written)
    if isinstance(found, str):
        assert "may be" in found
    else:
        assert all(math.isclose(value, float(number)) for value, number in zip(found[1], numbers, strict=True))


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_without_marks_come_back(number: float) -> None:
    assert parse_plain(repr(number)) == number


@pytest.mark.parametrize(
    "word", ["NA", "n/a", "NaN", "NULL", "None", "-", "--", "—", "?", "#N/A", "(no genres listed)", "\\N", "TBD", "nil"]
)
def test_words_for_missing(word: str) -> None:
    assert is_missing(word)
    assert not is_missing(f"{word} 9")


def test_a_unit_that_some_cells_lack_is_no_number_of_the_format() -> None:
    assert NumberFormat(",", ".", "$").parse("€5") is None
