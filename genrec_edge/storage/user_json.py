"""JSON that people write: a key that stands twice in one object is refused, and numbers keep their spelling."""

from __future__ import annotations

import json
import sys
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import Any, Self

_MAX_DIGITS = sys.float_info.max_10_exp + 1
"""Of the largest float."""


class RepeatedKeyError(ValueError):
    """An object has a key twice: which of its values is meant is not known."""

    hint = "keep one of them"


class WrittenFloat(float):
    """A number that is not written as a whole one, and how it is written: 1.50, 1e3, 1e400."""

    __slots__ = ("spelling",)
    spelling: str

    def __new__(cls, spelling: str) -> Self:
        """Return the number that a text is."""
        number = super().__new__(cls, spelling)
        number.spelling = spelling
        return number

    def __reduce__(self) -> tuple[type[WrittenFloat], tuple[str]]:
        return WrittenFloat, (self.spelling,)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, as `json.loads` does; numbers with decimals are plain ones.

    Raises:
        RepeatedKeyError: a key stands twice in one object; the message names it.
        ValueError, RecursionError: as `json.loads`.
    """
    return json.loads(text, object_pairs_hook=_unique)


def repeated_at(text: str) -> int:
    """Return the number, from 1, of the entry of an array for which `parse_json` raised a RepeatedKeyError."""
    decode = json.JSONDecoder(object_pairs_hook=_unique).raw_decode
    number, at = 1, text.index("[") + 1
    while True:
        while text[at].isspace() or text[at] == ",":
            at += 1
        try:
            _, at = decode(text, at)
        except RepeatedKeyError:
            return number
        number += 1


def spelled_decoder() -> json.JSONDecoder:
    """Return a decoder that refuses repeated keys, whose numbers with decimals are `WrittenFloat`."""
    return json.JSONDecoder(object_pairs_hook=_unique, parse_float=WrittenFloat, parse_constant=WrittenFloat)


def spelling(number: float) -> str:
    """Return how a number was written, as far as that is known.

    >>> spelling(WrittenFloat("1e3")), spelling(1e3)
    ('1e3', '1000.0')
    """
    return number.spelling if isinstance(number, WrittenFloat) else repr(number)


def whole_text(text: str) -> str:
    """Return a number without the decimals or the exponent of a whole number, digit by digit; 1.5 stays as it is.

    So does one that is larger than any float: 1e999999999 has a billion digits.

    >>> whole_text("7.0"), whole_text("9007199254740993.0"), whole_text("1e3"), whole_text("1.50")
    ('7', '9007199254740993', '1000', '1.50')
    """
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return text
    is_huge = not exact.is_finite() or exact.adjusted() >= _MAX_DIGITS
    return text if is_huge or exact != exact.to_integral_value() else str(int(exact))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
        raise RepeatedKeyError(f"the key {key[:40]!r} stands twice in one object")
    return found
