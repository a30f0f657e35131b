"""Lists and objects written as text: JSON, what Python, numpy and R print, and arrays of PostgreSQL with quotes.

Nothing is evaluated: a text is cut into tokens, and these are written as JSON.
"""

from __future__ import annotations

import json
import re

from genrec_edge.storage.user_json import RepeatedKeyError, spelled_decoder

MAX_CHARACTERS = 1 << 20
_CALLED = "set|frozenset|list|tuple|array|deque|OrderedSet|SortedSet|Index|dict_keys|dict_values"
_TOKEN = re.compile(
    rf"""
      (?P<space>\s+)
    | (?P<call>(?:[a-z]+\.)?(?:{_CALLED})\((?=\s*[\[({{)]) | (?:np|numpy)\.[a-z_0-9]+\((?=\s*['"\w.-]) )
    | [bBuUrR]?(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<number>-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.])
    | (?P<word>(?:None|True|False|null|true|false|nan|NaN|NA|np\.True_|np\.False_)\b|<NA>)
    | (?P<option>,\s*(?:dtype|maxlen|shape|name|length)=(?:'[^']*'|"[^"]*"|\([0-9, ]*\)|[\w.<>|]+))
    | (?P<mark>[\[\](){{}}:,])
    """,
    re.VERBOSE | re.DOTALL,
)
_CALL = re.compile(rf"(?:[a-z]+\.)?(?:{_CALLED})\(").match
_EMPTY = "character(0)"
"""How R prints a list of no texts."""
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_WORDS = {"None": "null", "True": "true", "False": "false", "np.True_": "true", "np.False_": "false"}
_WORDS |= dict.fromkeys(("nan", "NaN", "NA", "<NA>"), "null")
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}
_VALUES = frozenset({"text", "number", "word"})
_DECODE = spelled_decoder().decode


def may_be_structure(text: str) -> bool:
    """Whether a text begins like a list or an object; quick."""
    return text[0] in "[{(" or text[:2] == "c(" or (text[-1] == ")" and (text == _EMPTY or _CALL(text) is not None))


def parse_structure(text: str) -> list[object] | dict[str, object] | None:
    """Return the list or object that a text is, None if it is neither. A set is a list, in the order that it has.

    >>> parse_structure("[{'id': 16, 'name': 'Animation'}]"), parse_structure("['Drama' 'War']")
    ([{'id': 16, 'name': 'Animation'}], ['Drama', 'War'])
    >>> parse_structure("frozenset({'a', 'b'})"), parse_structure("array(['a'], dtype=object)")
    (['a', 'b'], ['a'])

    Raises:
        RepeatedKeyError: an object has a key twice.
    """
    if len(text) < 2 or len(text) > MAX_CHARACTERS or not may_be_structure(text) or text[-1] not in "]})":
        return None
    if text[0] in "[{":
        try:
            return _structure(_DECODE(text))
        except RepeatedKeyError:
            raise
        except (ValueError, RecursionError):
            pass
    if text[0] == "(" and "'" not in text and '"' not in text:
        return None  # "(1999)" is a text
    as_json = "[]" if text == _EMPTY else _Writer().json_of(text.removeprefix("c") if text[:2] == "c(" else text)
    try:
        return None if as_json is None else _structure(_DECODE(as_json))
    except RepeatedKeyError:
        raise
    except (ValueError, RecursionError):
        return None


def unescaped(text: str) -> str:
    r"""Return the text between two quotes, with the characters that its backslashes stand for."""
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _structure(value: object) -> list[object] | dict[str, object] | None:
    return value if isinstance(value, list | dict) else None


class _Writer:
    """Writes a literal of Python, R or PostgreSQL as JSON."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._open: list[tuple[str, int, bool]] = []
        """What is open: "[", "(", "{" or "call", where its part stands, and whether it has a colon."""

    def json_of(self, text: str) -> str | None:
        """Return the JSON, None if the text has something that no literal of ours has."""
        position, previous = 0, ""
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                return None
            position, kind = match.end(), str(match.lastgroup)
            if kind == "space":
                continue
            if kind in _VALUES and previous in _VALUES:
                self._parts.append(",")  # numpy writes no commas
            if not self._take(kind, match, previous):
                return None
            previous = match[0] if kind == "mark" else kind
            if not self._open:
                break
        return "".join(self._parts) if position == len(text) and not self._open else None

    def _take(self, kind: str, match: re.Match[str], previous: str) -> bool:
        """Write one token; False where it cannot stand."""
        if kind == "text":
            self._parts.append(json.dumps(unescaped(match["text"][1:-1])))
        elif kind == "word":
            self._parts.append(_WORDS.get(match[0], match[0]))
        elif kind == "number":
            self._parts.append(match[0] if _JSON_NUMBER(match[0]) else json.dumps(float(match[0])))
        elif kind == "call":
            self._open.append(("call", len(self._parts), False))
        elif kind == "option":
            return bool(self._open) and self._open[-1][0] == "call"
        elif match[0] in _CLOSING:
            self._open.append((match[0], len(self._parts), False))
            self._parts.append("{" if match[0] == "{" else "[")
        elif match[0] in "])}":
            return self._close(match[0], previous)
        else:
            if match[0] == ":" and self._open:
                self._open[-1] = (*self._open[-1][:2], True)
            self._parts.append(match[0])
        return True

    def _close(self, mark: str, previous: str) -> bool:
        if not self._open:
            return False
        opening, at, has_colon = self._open.pop()
        if opening == "call":
            if at == len(self._parts):
                self._parts.append("[]")  # set()
            return mark == ")"
        if previous == "," and len(self._parts) > at + 2:
            self._parts.pop()  # ('a',)
        is_set = opening == "{" and not has_colon and len(self._parts) > at + 1
        if is_set:
            self._parts[at] = "["
        self._parts.append("}" if opening == "{" and not is_set else "]")
        return mark == _CLOSING[opening]


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else match[0]
    return _ESCAPED.get(match[4], match[4])
