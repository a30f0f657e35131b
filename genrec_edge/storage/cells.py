"""Cells of a table as values: text, lists, years. `numbers.py` reads numbers, `columns.py` the cells of a column."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

from genrec_edge.storage.bare_lists import parse_bare_list
from genrec_edge.storage.literals import parse_structure
from genrec_edge.storage.numbers import is_held
from genrec_edge.storage.user_json import WrittenFloat, spelling, whole_text

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON_LIST = "[]"
"""The separator of columns whose cells are lists written as JSON or as literals of Python."""

NULLS = frozenset({"", "\\N", "(no genres listed)"})
"""Texts of cells that hold nothing, in every column."""

MIN_YEAR, MAX_YEAR = -99_999, 9_999

_YEAR = re.compile(r"(?<![0-9])[0-9]{4}(?![0-9])").search
_WHOLE = re.compile(r"(?P<sign>[-+\u2212]?)(?P<digits>[0-9]{1,9})(?:\.0+)?").fullmatch
_ISO_DATE = re.compile(r"(?P<sign>[-+\u2212]?)(?P<digits>[0-9]{4,6})-[0-9]{2}").match
_BEFORE_CHRIST = re.compile(
    r"(?<![0-9])(?P<digits>[0-9]{1,5})\s*(?:BCE?\b|B\.\s?C\.|v\.\s?Chr|a\.\s?C\.|av\.\s?J)", re.IGNORECASE
).search
_AFTER_CHRIST = re.compile(
    r"\b(?:AD|A\.\s?D\.)\s*(?P<after>[0-9]{1,4})(?![0-9])"
    r"|(?<![0-9])(?P<digits>[0-9]{1,4})\s*(?:AD\b|CE\b|A\.\s?D\.|C\.\s?E\.|n\.\s?Chr|d\.\s?C\.|ap\.\s?J)",
    re.IGNORECASE,
).search
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def scalar(cell: object) -> str | int | float | None:
    """Return a single cell as `stored` does, with "?" for characters that no text can hold."""
    try:
        return stored(cell)
    except ValueError:
        return stored(str(cell).replace("\0", "?").encode("utf-8", "replace").decode())


def stored(cell: object) -> str | int | float | None:
    """Return a single cell as SQLite stores it: empty text is NULL, structures are JSON text, bytes are left out.

    Raises:
        ValueError: a text that no SQLite text can be: with a NUL, or not valid Unicode.
    """
    if isinstance(cell, str):
        cell = cell.strip()
        return None if cell in NULLS else checked_text(cell)
    if cell is None or isinstance(cell, bytes):
        return None
    if isinstance(cell, float):
        return None if math.isnan(cell) else cell
    if isinstance(cell, int):
        return int(cell) if is_held(cell) else str(cell)
    return checked_text(json.dumps(cell, ensure_ascii=False))


def checked_text(text: str) -> str:
    """Return a text.

    Raises:
        ValueError: it holds a NUL, or a lone surrogate, which JSON may carry and UTF-8 cannot.
    """
    if "\0" in text:
        raise ValueError(f"{text[:40]!r} holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise ValueError(f"{text[:40]!r} is not valid Unicode (it has a lone surrogate)") from e
    return text


def split_list(cell: object, separator: str, *, may_be_bare: bool = False) -> list[str]:
    """Return the different values of a list cell, in order; of an object, its name. Case of A-Z makes no difference.

    Values are as they were written: 1.0 and true are "1.0" and "true". null and an object without keys are none.

    >>> split_list("Action|Comedy", "|"), split_list('["Action", "Comedy"]', JSON_LIST)
    (['Action', 'Comedy'], ['Action', 'Comedy'])

    Args:
        cell: a text, a list, or a single value.
        separator: what separates the values of a text.
        may_be_bare: whether values in brackets without quotes are a list, too: [A, B].

    Raises:
        ValueError: as `stored` does; or an object has a key twice.
    """
    if isinstance(cell, str):
        text = cell.strip()
        bare = parse_bare_list(text) if may_be_bare else None
        structure = parse_structure(text) if bare is None else bare
        if structure is None:
            whole = text in NULLS or separator == JSON_LIST
            return _different([text] if whole else text.split(separator))
        cell = structure
    return _different(cell if isinstance(cell, list) else [] if cell == {} else [cell])


def _different(values: Sequence[object]) -> list[str]:
    found: dict[str, str] = {}
    for value in values:
        single = written(name_of(value))
        if single is not None:
            found.setdefault(single.translate(_ASCII_LOWER), single)
    return list(found.values())


def name_of(value: object) -> object:
    """Return the name of an object that has one, else the value itself.

    >>> name_of({"id": 16, "name": "Animation"}), name_of({"id": 16}), name_of(16)
    ('Animation', {'id': 16}, 16)
    """
    return value["name"] if isinstance(value, dict) and isinstance(value.get("name"), str | int) else value


def text_of(cell: object) -> str | None:
    """Return a single cell as text, None where it holds nothing; a whole number without decimals, whatever its type.

    So the ids 1, 1.0 and "1" of a JSON file are one id.

    >>> text_of(1.0), text_of(" 007 "), text_of(True), text_of("")
    ('1', '007', 'true', None)

    Raises:
        ValueError: as `stored` does.
    """
    if isinstance(cell, float) and cell.is_integer():
        return whole_text(spelling(cell))
    return written(cell)


def written(cell: object) -> str | None:
    """Return a single cell as text, as it was written: JSON for lists and objects, None where it holds nothing.

    >>> written(1.0), written(True), written([1.0, None])
    ('1.0', 'true', '[1.0, null]')

    Raises:
        ValueError: as `stored` does; or it is nested too deeply.
    """
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return None if math.isnan(cell) else spelling(cell)
    if isinstance(cell, list | dict):
        try:
            return checked_text(_json_of(cell))
        except RecursionError as e:
            raise ValueError("a list or an object is nested too deeply") from e
    value = stored(cell)
    return None if value is None else str(value)


def _json_of(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_json_of(str(key))}: {_json_of(below)}' for key, below in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_json_of, value))}]"
    return spelling(value) if isinstance(value, WrittenFloat) else json.dumps(value, ensure_ascii=False)


def parse_year(cell: object) -> int | None:
    """Return the year of a cell, None without one. Years before Christ are negative; there is no year 0.

    A whole number from -99,999 to 9,999 is a year as it is. Of other texts it is that of an ISO date, the number before
    "BC" or beside "AD", or the first number of four digits: "1995-11-22" and "22/11/1995" are 1995, "-0720-01-01" and
    "720 BC" -720.
    """
    if isinstance(cell, bool) or cell is None:
        return None
    text = str(cell).strip()
    match = _WHOLE(text) or _ISO_DATE(text)
    if match is not None:
        year = int(match["digits"]) * (-1 if match["sign"] in {"-", "\u2212"} else 1)
    elif (match := _BEFORE_CHRIST(text)) is not None:
        year = -int(match["digits"])
    elif (match := _AFTER_CHRIST(text)) is not None:
        year = int(match["after"] or match["digits"])
    else:
        match = _YEAR(text)
        year = int(match[0]) if match else 0
    return year if year and MIN_YEAR <= year <= MAX_YEAR else None
