"""Lists and objects written as text: JSON, Python's `repr`, numpy's, and R's `c(...)`. Nothing is evaluated."""

from __future__ import annotations

import json
import re

_MAX_CHARACTERS = 1 << 20
_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | [bBuUrR]?(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.])
    | (?P<word>None|True|False|null|true|false|nan|NaN|NA)\b
    | (?P<mark>[\[\](){}:,])
    """,
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"None": "null", "True": "true", "False": "false", "nan": "null", "NaN": "null", "NA": "null"}
_MARKS = {"(": "[", ")": "]"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}
_VALUES = frozenset({"text", "number", "word"})


def parse_structure(text: str) -> list[object] | dict[str, object] | None:
    """Return the list or object that a text is, None if it is neither.

    >>> parse_structure("[{'id': 16, 'name': 'Animation'}]"), parse_structure("['Drama' 'War']")
    ([{'id': 16, 'name': 'Animation'}], ['Drama', 'War'])
    """
    if len(text) < 2 or text[0] + text[-1] not in {"[]", "{}", "()", "c)"} or len(text) > _MAX_CHARACTERS:
        return None
    if text[0] in "[{":
        try:
            return _structure(json.loads(text))
        except (ValueError, RecursionError):
            pass
    if text[0] == "(" and "'" not in text and '"' not in text:
        return None  # "(1999)" is a text
    as_json = _to_json(text.removeprefix("c"))
    try:
        return None if as_json is None else _structure(json.loads(as_json))
    except (ValueError, RecursionError):
        return None


def _structure(value: object) -> list[object] | dict[str, object] | None:
    return value if isinstance(value, list | dict) else None


def _to_json(text: str) -> str | None:
    """Return a literal of Python or R as JSON, None if it has something that no literal of ours has."""
    parts: list[str] = []
    position, previous, opened = 0, "", 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        position = match.end()
        kind = str(match.lastgroup)
        if kind == "space":
            continue
        if kind in _VALUES and previous in _VALUES:
            parts.append(",")  # numpy writes no commas
        if kind == "mark":
            mark = match[0]
            opened += (mark in "([{") - (mark in ")]}")
            if mark in ")]" and previous == ",":
                parts.pop()  # ('a',)
            parts.append(_MARKS.get(mark, mark))
        elif kind == "text":
            parts.append(json.dumps(_ESCAPE.sub(_unescaped, match["text"][1:-1])))
        elif kind == "word":
            parts.append(_WORDS.get(match[0], match[0]))
        else:
            parts.append(_json_number(match[0]))
        previous = match[0] if kind == "mark" else kind
        if opened <= 0:
            break
    return "".join(parts) if position == len(text) else None


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else match[0]
    return _ESCAPED.get(match[4], match[4])


def _json_number(text: str) -> str:
    try:
        return str(int(text))
    except ValueError:
        return json.dumps(float(text))
