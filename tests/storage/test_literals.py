"""Lists and objects that programs printed into cells."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.storage.literals import parse_structure

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
        ("{'a', 'b'}", None),
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
