"""Differences between JSON documents."""

from __future__ import annotations

import pytest

from genrec_edge.storage.json_diff import differences


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ({}, {}, []),
        ({"a": 1, "b": {"c": [1], "d": None}}, {"b": {"d": None, "c": [1]}, "a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c"]),
        ({"a": {"b": 1}}, {"a": 1}, ["a.b", "a"]),
        ({"a": None}, {}, ["a"]),
        ({}, {"a": {"b": None}}, ["a.b"]),
        (1, 2, [""]),
    ],
)
def test_what_differs_is_named_by_dotted_names(a: object, b: object, names: list[str]) -> None:
    assert differences(a, b) == names
