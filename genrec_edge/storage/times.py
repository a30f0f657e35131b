"""Cells of a table as moments, in seconds since 1970, UTC; and as ratings.

A time is a number, or a text whose order of day and month cannot be mistaken: ISO 8601, 2024/1/31, 31.1.2024, 31 Jan
2024, Jan 31, 2024, each with or without a time of day, and the dates of e-mails. "1/5/2024" is not read: it is two
different days. Which unit numbers have is decided over all of them, by `to_seconds`.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.records import TimeUnit

TIME_HINT = "write times as seconds since 1970 or as ISO 8601, such as 2024-01-31T20:15:00Z"

_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%Y-%m")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_UTC_NAMES = (" UTC", " GMT", " utc", " gmt")

_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_SHORT_UNITS: tuple[TimeUnit, ...] = ("s", "ms", "us", "ns")
_BOUNDS = (1e11, 1e14, 1e17)
"""Between the units."""
_PER_SECOND = np.array([1.0, 1e3, 1e6, 1e9])
_LARGEST = 1e20
"""No number of nanoseconds is as large before the year 5138."""
_COMPACT_DIGITS = (8, 12, 14)
"""Of dates written as one number: 20240131, 202401312015 and 20240131201500."""


_LARGEST_RATING = 1e30  # far below the largest float32
_DECIMAL_COMMA = re.compile(r"-?[0-9]+,[0-9]{1,2}")


class UnclearTimesError(UsageError):
    """Numbers of several units, some of which may be of more than one. `examples` are some of these."""

    def __init__(self, message: str, hint: str, examples: Sequence[float]) -> None:
        super().__init__(message, hint=hint)
        self.examples = examples


def number_of(cell: object) -> float | None:
    """Return a cell as a finite number, or None. `float` alone would read "1_0" as ten."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float) or (isinstance(cell, str) and "_" in cell):
        return None
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def rating_of(cell: object) -> float | None:
    """Return a rating as a number, or None; "4,5" is four and a half."""
    if isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell.strip()):
        cell = cell.replace(",", ".")
    rating = number_of(cell)
    return None if rating is None or abs(rating) > _LARGEST_RATING else rating


def moment_of(cell: object) -> float | None:
    """Return a date in seconds, without an offset in UTC; None for a cell that is no date, a number included."""
    if isinstance(cell, datetime):
        return _utc(cell).timestamp()
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day, tzinfo=UTC).timestamp()
    if not isinstance(cell, str):
        return None
    text = " ".join(cell.split())
    if not any(c.isdigit() for c in text):
        return None
    for read in (datetime.fromisoformat, _other_date, parsedate_to_datetime):
        try:
            return _utc(read(text)).timestamp()
        except (ValueError, OverflowError, IndexError, TypeError):
            continue
    return None


def _utc(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _other_date(text: str) -> datetime:
    """Return the date that a text in one of our other forms is.

    Raises:
        ValueError: it has none of them.
    """
    for name in _UTC_NAMES:
        text = text.removesuffix(name)
    for day in _DAYS:
        for clock in _CLOCKS:
            try:
                return datetime.strptime(text.replace("T", " ") if clock else text, day + clock)
            except ValueError:
                continue
    raise ValueError(text)


def to_seconds(numbers: NDArray[np.float64], unit: TimeUnit = "auto") -> tuple[NDArray[np.float64], str]:
    """Return numbers that are times as seconds, and in words what they were taken for: "" for seconds as they are.

    With "auto", all of them decide. Dates written as one number (20240131) are dates if all numbers are. Otherwise the
    size says the unit: seconds below 1e11, milliseconds below 1e14, microseconds below 1e17, else nanoseconds. Where
    that gives several units, each number must be one that only one unit makes a time between 1973 and 2286, or 0.

    Args:
        numbers: (n,), finite.
        unit: of all of them, or "auto".

    Raises:
        UnclearTimesError: there are several units and a number that could be of more than one, or one above 1e20.
    """
    if unit != "auto":
        named = _SHORT_UNITS.index(unit)
        return numbers / _PER_SECOND[named], _UNITS[named] if named else ""
    if (dates := _compact_dates(numbers)) is not None:
        return dates, "dates such as 20240131"
    size = np.abs(numbers)
    which = np.digitize(size, _BOUNDS).astype(np.int8)
    counts = np.bincount(which, minlength=len(_UNITS))
    if np.count_nonzero(counts) > 1 or size.max(initial=0) >= _LARGEST:
        in_seconds = size / _PER_SECOND[which]
        unclear = (size > 0) & ((in_seconds < 1e8) | (in_seconds >= 1e10))
        if unclear.any():
            raise _unclear(numbers, which, unclear)
    if not counts[1:].any():
        return numbers, ""
    used = np.flatnonzero(counts)
    words = [_UNITS[used[0]]] if len(used) == 1 else [f"{counts[u]:,} in {_UNITS[u]}" for u in used]
    return numbers / _PER_SECOND[which], ", ".join(words)


def unit_by_size(number: float) -> TimeUnit:
    """Return the unit that the size of a number says, without a look at others."""
    return _SHORT_UNITS[int(np.digitize(abs(number), _BOUNDS))]


def _unclear(numbers: NDArray[np.float64], which: NDArray[np.int8], unclear: NDArray[np.bool_]) -> UnclearTimesError:
    units = [_UNITS[u] for u in np.unique(which[~unclear])]
    examples = numbers[unclear][:3].tolist()
    shown = ", ".join(f"{number:.15g}" for number in examples)
    others = f" beside times in {' and '.join(units)}" if units else ""
    message = f"{int(unclear.sum()):,} times are of no clear unit{others}: {shown}"
    return UnclearTimesError(message, "correct them, or say the unit of all of them with `time_unit`", examples)


def _compact_dates(numbers: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return numbers such as 20240131 as the dates they are, None unless all of them are."""
    if not len(numbers) or numbers.min() < 1e7 or numbers.max() >= 1e14 or np.any(numbers % 1):
        return None
    distinct, at = np.unique(numbers, return_inverse=True)
    moments = np.empty(len(distinct))
    for i, number in enumerate(distinct.tolist()):
        text = str(int(number))
        if len(text) not in _COMPACT_DIGITS or not "1900" <= text[:4] <= "2100":
            return None
        clock = [int(text[place : place + 2]) for place in range(4, len(text), 2)]
        try:
            moments[i] = datetime(int(text[:4]), *clock, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]
        except ValueError:
            return None
    return moments[at]
