"""Lists and objects that programs printed into cells."""

from __future__ import annotations

import json
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.storage.literals import parse_structure
from genrec_edge.storage.user_json import RepeatedKeyError, spelling

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@given(st.lists(_VALUES, max_size=4) | st.dictionaries(st.text(), _VALUES, max_size=4))
def test_what_python_and_json_write_is_read(value: object) -> None:
    assert parse_structure(repr(value)) == value
    assert parse_structure(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "[{'id': 16, 'name': \"Don't\"}, {'id': 35, 'name': 'It\\'s'}]",
            [{"id": 16, "name": "Don't"}, {"id": 35, "name": "It's"}],
        ),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("('a',)", ["a"]),
        ('c("a", "b")', ["a", "b"]),
        ("['x', nan, None]", ["x", None, None]),
        ("[REC]", None),
        ("(1999)", None),
        ("(no genres listed)", None),
        ("{'a', 'b'}", ["a", "b"]),
        ('{"a", "b c"}', ["a", "b c"]),
        ("{'b': {1, 2}}", {"b": [1, 2]}),
        ("{'a': 1, 'b'}", None),
        ("{}", {}),
        ("set()", []),
        ("frozenset()", []),
        ("frozenset({'a', 'b'})", ["a", "b"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("array(['a',\n       'b'], dtype='<U1')", ["a", "b"]),
        ("array([list(['a']), list([])], dtype=object)", [["a"], []]),
        ("['a' 'b' ... 'y' 'z']", None),
        ("array(['a', ..., 'z'], dtype=object)", None),
        ("[np.str_('a'), np.int64(5), np.True_]", ["a", 5, True]),
        ("['a', <NA>]", ["a", None]),
        ("deque(['a', 'b'], maxlen=3)", ["a", "b"]),
        ("collections.deque([])", []),
        ("OrderedSet(['a'])", ["a"]),
        ("character(0)", []),
        ("print(['a'])", None),
        ("set('a')", None),
        ("array(['a']) + 1", None),
        ("array('a', dtype=object)", None),
        ("['a', maxlen=3]", None),
        ("['a')", None),
        ("[,]", None),
        ("[007, 008]", None),
        ("[" * 200_000 + "'", None),
        ("frozenset({" * 50_000, None),
        ("['a'] and ['b']", None),
        ("[__import__('os')]", None),
        ("['a' + 'b']", None),
        ("[" * 100_000 + "]" * 100_000, None),
        ("['a", None),
        ("", None),
    ],
)
def test_literals(text: str, value: object) -> None:
    assert parse_structure(text) == value


@given(st.lists(st.text() | st.integers(), min_size=1, max_size=5))
def test_what_python_prints_of_other_lists_is_read(values: list[str | int]) -> None:
    assert parse_structure(repr(deque(values, maxlen=9))) == values
    for kind in (set, frozenset):
        made = kind(values)
        assert parse_structure(repr(made)) == list(made)


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), min_size=1, max_size=5))
def test_what_numpy_prints_is_read(values: list[str]) -> None:
    made = np.array([*values, 0], dtype=object)[:-1]
    with np.printoptions(threshold=100, linewidth=20):
        assert parse_structure(str(made)) == values
        assert parse_structure(repr(made)) == values


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "[{'b': {'a': 1, 'c': 0, 'a': 1}}]", '[{"a": [1]}, {"a": 1, "a": 1}]']
)
def test_a_key_that_stands_twice_is_named(text: str) -> None:
    with pytest.raises(RepeatedKeyError, match="the key 'a' stands twice in one object"):
        parse_structure(text)


def test_numbers_keep_their_spelling() -> None:
    found = parse_structure("[1.0, 1.50, 1e3, 12345678901234567890.0, 1e400]")
    assert isinstance(found, list)
    assert [spelling(number) for number in found] == ["1.0", "1.50", "1e3", "12345678901234567890.0", "1e400"]  # type: ignore[arg-type]
