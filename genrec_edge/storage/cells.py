"""Cells of a table as values: text, numbers, lists, years."""

from __future__ import annotations

import json
import re
from typing import overload

JSON_LIST = "[]"
"""The separator of columns whose cells are JSON arrays."""

NULLS = frozenset({"", "\\N"})
"""Texts of cells that hold nothing."""

_YEAR = re.compile(r"(?<![0-9])[0-9]{4}(?![0-9])").search


@overload
def scalar(cell: str) -> str | None: ...
@overload
def scalar(cell: object) -> str | int | float | None: ...
def scalar(cell: object) -> str | int | float | None:
    """Return a cell as SQLite stores it: empty text is NULL, structures are JSON text."""
    if isinstance(cell, str):
        cell = cell.strip()
        return None if cell in NULLS else _encodable(cell)
    if cell is None or isinstance(cell, float):
        return cell
    if isinstance(cell, int):
        return int(cell) if -(2**63) <= cell < 2**63 else str(cell)
    return _encodable(json.dumps(cell, ensure_ascii=False))


def split_list(cell: object, separator: str) -> list[str]:
    """Return the different values of a list cell, in order; of an object, its name.

    >>> split_list("Action|Comedy", "|"), split_list('["Action", "Comedy"]', JSON_LIST)
    (['Action', 'Comedy'], ['Action', 'Comedy'])
    """
    if isinstance(cell, str):
        array = parse_array(cell.strip()) if cell[:1] == "[" else None
        if array is None:
            parts = [cell] if separator == JSON_LIST else cell.split(separator)
            return list(dict.fromkeys(text for part in parts if (text := scalar(part))))
        cell = array
    values = cell if isinstance(cell, list) else [cell]
    names = (value.get("name") if isinstance(value, dict) else value for value in values)
    return list(dict.fromkeys(str(value) for value in map(scalar, names) if value is not None))


def parse_year(cell: object) -> int | None:
    """Return the first number of four digits in a cell: "1995-11-22", 1995.0 and "22/11/1995" are 1995."""
    match = _YEAR(str(cell)) if cell is not None else None
    return int(match[0]) or None if match else None


def parse_array(text: str) -> list[object] | None:
    """Return the elements of a JSON array, None if the text is not one."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        return list(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _encodable(text: str) -> str:
    """Replace lone surrogates, which JSON may carry and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
