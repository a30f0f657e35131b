"""A column whose type is known: what its cells are as values. `infer_columns.py` finds the types."""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.storage.cells import NULLS, checked_text, name_of, split_list, text_of, written
from genrec_edge.storage.literals import parse_structure
from genrec_edge.storage.numbers import PLAIN, Kind, NumberFormat, is_held, is_missing, parse_plain
from genrec_edge.storage.user_json import whole_text

if TYPE_CHECKING:
    from genrec_edge.records import Value


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a source: where it stands, what it holds, and how that was decided."""

    name: str
    position: int
    """In the rows of the source."""
    kind: Kind
    """The SQL type; that of columns of lists is TEXT."""
    separator: str | None = None
    """What separates the values of a list, None for single values."""
    may_be_bare: bool = False
    """Whether cells of a list column may be lists without quotes: [A, B]."""
    is_empty: bool = False
    numbers: NumberFormat = PLAIN
    """How numbers are written."""
    has_words_for_missing: bool = False
    """Whether "NA" and the like stand for nothing: among numbers and dates, not among texts."""
    has_objects: bool = False
    """Whether the cells are objects, whose names are the values."""
    are_whole: bool = False
    """Whether all are whole numbers, though some may be written with decimals: 7.0."""
    are_bools: bool = False
    """Whether all are true or false, kept as 1 and 0."""
    are_years: bool = False
    """Whether all are whole numbers from -99,999 to 9,999."""
    n_missing: int = 0
    examples: tuple[str, ...] = ()
    """The first different values, as the file has them."""
    decisions: tuple[str, ...] = ()
    """What was decided where it was not obvious, in words."""

    def value(self, cell: object) -> Value:
        """Return a cell as a single value: int, float or text as `kind` says, None where it holds nothing.

        Raises:
            ValueError: the cell is of another type; the message quotes it. No cell of the source that the column was
                inferred from does, unless it is a text that SQLite cannot hold.
        """
        if isinstance(cell, str):
            return self._text_value(cell.strip())
        if isinstance(cell, float) and math.isnan(cell):
            return None
        if self.kind != "TEXT":
            if isinstance(cell, bool) and not self.are_bools:
                raise ValueError(f"{_shown(cell)} is not a number")
            return _number(cell)
        return written(name_of(cell) if self.has_objects else cell)

    def values(self, cell: object) -> list[str]:
        """Return the different values of a cell of a list column, in order.

        Raises:
            ValueError: a text that SQLite cannot hold, or an object with a key twice.
        """
        separator = "," if self.separator is None else self.separator
        return split_list(cell, separator, may_be_bare=self.may_be_bare)

    def id(self, cell: object) -> str | None:
        """Return a cell as an id: text as it is, whole numbers without decimals, None where it holds nothing.

        Raises:
            ValueError: neither text nor number, or with control characters.
        """
        if isinstance(cell, bool | list | dict | bytes):
            raise ValueError(f"{_shown(cell)} is neither text nor a number")  # noqa: TRY004 - of the file, not of our code
        text = text_of(cell)
        if text is None:
            return None
        if self.kind == "REAL" and self.are_whole and isinstance(cell, str):
            text = text if parse_plain(text) is None else whole_text(text)
        if not text.isprintable() and any(unicodedata.category(c) == "Cc" for c in text):
            raise ValueError(f"{text[:40]!r} has control characters")
        return text

    def _text_value(self, text: str) -> Value:
        if text in NULLS:
            return None
        if self.kind != "TEXT":
            number = parse_plain(text) if self.numbers.decimal == "." else None
            if number is None and not is_missing(text):
                number = self.numbers.parse(text)
                if number is None:
                    raise ValueError(f"{text[:40]!r} is not a number")
            return number
        if self.has_words_for_missing and is_missing(text):
            return None
        if self.has_objects:
            return written(name_of(parse_structure(text)))
        return checked_text(text)

    @property
    def type_name(self) -> str:
        """The type in a word: "list", "whole number", "number" or "text"."""
        if self.separator is not None:
            return "list"
        return {"INTEGER": "whole number", "REAL": "number", "TEXT": "text"}[self.kind]


def _number(cell: object) -> int | float | None:
    """Return a cell that is not text as a number that SQLite can hold.

    Raises:
        ValueError: it is none.
    """
    if cell is None or isinstance(cell, bytes):
        return None
    if isinstance(cell, int) and is_held(cell):
        return int(cell)
    if isinstance(cell, float) and math.isfinite(cell):
        return float(cell)
    raise ValueError(f"{_shown(cell)} is not a number")


def _shown(cell: object) -> str:
    text = repr(cell) if isinstance(cell, bytes) else json.dumps(cell, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
