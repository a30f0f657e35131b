"""Filters as tokens: what has no place in a condition is refused, and said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.where_tokens import Token, shortened, tokenize
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.catalog.reader import Catalog


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("1) UNION SELECT id FROM items --", "bracket is closed that was not opened"),
        ("1) UNION SELECT value FROM meta WHERE (1", "bracket is closed that was not opened"),
        ("(1", "a bracket is not closed"),
        ("1; DROP TABLE items", "';' is not allowed"),
        ("1 -- comment", "'--' is not allowed"),
        ("1 /* comment */", "'/\\*' is not allowed"),
        ("meta.value = 'x'", "'.' is not allowed"),
        ("items.year", "'.' is not allowed"),
        ("title = ?", r"'\?' is not allowed"),
        ("title = :x", "':' is not allowed"),
        ("title = 'a", '"\'" is not allowed'),
        ("title = 'a\0b'", "is not allowed"),
        ('"title', "is not allowed"),
        ("12abc", "is not allowed"),
        ("", "`where` is empty"),
        (" \n", "`where` is empty"),
        ("1" + " + 1" * 20_000, "at most 20,000"),
    ],
)
def test_what_does_not_belong_in_a_condition_is_refused(where: str, message: str, films: Catalog) -> None:
    with pytest.raises(UsageError, match=message) as error:
        films.filter(where)
    assert error.value.exit_code == 2
    assert len(error.value.message) < 400
    assert "\n" not in error.value.message


def test_tokens_have_kinds_names_and_keywords() -> None:
    tokens = tokenize('"a ""b""" IN (`c`, [d], \'IN\', 1.5e3) Year')
    assert tokens == [
        Token("quoted", '"a ""b"""'),
        Token("word", "IN"),
        Token("operator", "("),
        Token("quoted", "`c`"),
        Token("operator", ","),
        Token("quoted", "[d]"),
        Token("operator", ","),
        Token("string", "'IN'"),
        Token("operator", ","),
        Token("number", "1.5e3"),
        Token("operator", ")"),
        Token("word", "Year"),
    ]
    assert [token.name for token in tokens if token.kind in {"quoted", "word"}] == ['a "b"', "IN", "c", "d", "Year"]
    assert [token.keyword for token in tokens[:2]] == ["quoted", "in"]
    assert tokens[7].keyword == "string"  # text is no keyword


def test_long_text_is_shown_on_one_short_line() -> None:
    assert shortened("year\n > 1") == "'year > 1'"
    assert shortened("x" * 80) == repr("x" * 80)
    assert shortened("x" * 81) == repr("x" * 77 + "...")
