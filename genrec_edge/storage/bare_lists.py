"""Lists whose values need no quotes: `[A, B]`, and the arrays of PostgreSQL, `{A,"B C"}`.

One such cell says little: `[REC]` is a title. `list_cells.py` says when a column has them.
"""

from __future__ import annotations

import re

from genrec_edge.storage.literals import MAX_CHARACTERS, unescaped

_NOTHING = frozenset({"NULL", "null", "None", "nan", "NaN"})
_VALUE = re.compile(
    r"""
    \s*(?:
        (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*
      | (?P<plain>[^\s\[\]{}"',\\][^\[\]{}",\\]*)
    )(?P<end>,|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_KEY = re.compile(r"\w+\s*:(?!//)").match
"""What an object without quotes begins with: {id: 1}; the address {http://...} is none."""


def parse_bare_list(text: str) -> list[str] | None:
    r"""Return the values between brackets or braces, None if the text is no such list. NULL and None are left out.

    >>> parse_bare_list('{A,"B, C",NULL}'), parse_bare_list("[Sci-Fi, Don't Look Now]"), parse_bare_list("{id: 1}")
    (['A', 'B, C'], ['Sci-Fi', "Don't Look Now"], None)
    """
    if text[:1] + text[-1:] not in {"[]", "{}"} or len(text) > MAX_CHARACTERS:
        return None
    body = text[1:-1]
    if not body.strip():
        return []
    values: list[str] = []
    position, end = 0, ","
    while end:
        match = _VALUE.match(body, position)
        if match is None:
            return None
        position, end = match.end(), match["end"]
        if match["quoted"] is not None:
            values.append(unescaped(match["quoted"][1:-1]))
        elif _KEY(match["plain"]):
            return None
        elif (plain := match["plain"].strip()) not in _NOTHING:
            values.append(plain)
    return values
