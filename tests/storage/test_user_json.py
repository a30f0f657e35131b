"""JSON that people write: repeated keys, and the spelling of numbers."""

from __future__ import annotations

import json
import pickle

import pytest

from genrec_edge.storage.user_json import (
    RepeatedKeyError,
    WrittenFloat,
    parse_json,
    repeated_at,
    spelled_decoder,
    spelling,
    whole_text,
)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "'a'"),
        ('{"a": {"b": 1, "b": 2}}', "'b'"),
        ('[[{"": 1, "": 1}]]', "''"),
        ('{"\\u0061": 1, "a": 2}', "'a'"),
        ("{" + ", ".join(f'"{n}": 0' for n in [*range(200_000), 0]) + "}", "'0'"),
    ],
)
def test_a_repeated_key_is_refused(text: str, key: str) -> None:
    for parse in (parse_json, spelled_decoder().decode):
        with pytest.raises(RepeatedKeyError) as caught:
            parse(text)
        assert str(caught.value) == f"the key {key} stands twice in one object"


def test_the_same_key_in_different_objects_is_none() -> None:
    text = '[{"a": 1, "A": 2, "b": {"a": 1}}, {"a": 1.5}]'
    assert parse_json(text) == spelled_decoder().decode(text) == json.loads(text)


def test_the_entry_is_found() -> None:
    assert repeated_at(' [ "a,[", {"a": 1} ,\n{"a": 1, "a": 2}]') == 3


def test_numbers_know_how_they_were_written() -> None:
    one, huge, end = spelled_decoder().decode("[1.50, 1e400, -Infinity]")
    assert (one, huge, end) == (1.5, float("inf"), float("-inf"))
    assert [spelling(number) for number in (one, huge, end, 0.1)] == ["1.50", "1e400", "-Infinity", "0.1"]
    copy = pickle.loads(pickle.dumps(one))
    assert (copy, spelling(copy), type(copy)) == (1.5, "1.50", WrittenFloat)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("1.0", "1"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("1e308", "1" + 308 * "0"),
        ("1e400", "1e400"),
        ("1e999999999", "1e999999999"),  # a billion digits
        ("0e999999999", "0e999999999"),
        ("1e99999999999999999999", "1e99999999999999999999"),
        ("1e-99999999999999999999", "1e-99999999999999999999"),
        ("-Infinity", "-Infinity"),
        ("NaN", "NaN"),
        ("1.5", "1.5"),
        ("1e-400", "1e-400"),
        ("9007199254740993.00", "9007199254740993"),
    ],
)
def test_whole_numbers_lose_no_digit(text: str, whole: str) -> None:
    assert whole_text(text) == whole
