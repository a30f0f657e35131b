"""Numbers as people write them: with marks for thousands, a decimal comma, a currency or a percent sign.

Which mark means what is decided for a whole column (`NumberCollector`), never for one cell: "1,234" alone may be 1234
or 1.234.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import product
from typing import Literal

from genrec_edge.storage.user_json import spelling

_MISSING_WORDS = """
    na n/a #n/a <na> n.a. n.a n.d. n.d nd n\\a #na nan -nan nat null (null) <null> [null] #null! nil none (none) <none>
    nothing undefined undef unknown (unknown) missing (missing) <missing> unspecified n.v. k.a. k.a s/d s.d. - -- ---
    ---- ? ?? ??? . .. ... _ * #value! #div/0! #ref! #num! #name? 1.#ind -1.#ind 1.#qnan -1.#qnan 1.#nan tba tbd tbc
    (blank) blank (empty) empty \\n \u2013 \u2014 \u2015
    """.split()  # noqa: SIM905 - a list would have a line for each
_MISSING_PHRASES = ["not available", "not applicable", "not known", "no data", "no value", "#n/a n/a"]
MISSING = frozenset(
    spelled
    for text in (*_MISSING_WORDS, *_MISSING_PHRASES, "(no genres listed)")
    for spelled in (text, text.upper(), text.capitalize(), text.title())
) | {"NaN", "-NaN", "NaT", "<NaN>"}
"""What stands for "missing" where the other cells of the column are numbers or dates."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)").fullmatch
_EXPONENT = r"[eE][+-]?[0-9]{1,3}"
_REAL = re.compile(rf"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:{_EXPONENT})?|{_EXPONENT})").fullmatch
_LIKE_GROUPS = re.compile(r"-?[1-9][0-9]{0,2}\.[0-9]{3}").fullmatch
_CURRENCY = (
    r"(?:US|CA|A|C|NZ|HK|S|R)?\$|[\u00a2-\u00a5\u20a0-\u20cf]"
    r"|USD|EUR|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|kr\.?|Fr\."
)
_MARKED = re.compile(
    rf"(?P<sign>[-\u2212])?\s*(?P<before>{_CURRENCY})?\s*(?P<inner_sign>[-\u2212])?\s*"
    r"(?P<body>[0-9.,](?:[0-9.,'\u2019 \u00a0\u2007\u2009\u202f]*[0-9])?)\s*"
    rf"(?P<after>{_CURRENCY}|[%\u2030\u066a])?"
).fullmatch
_BEGINNING = re.compile(
    rf"[-+\u2212]?(?:{_CURRENCY})?\s?[0-9][0-9.,'\u2019 \u00a0\u2007\u2009\u202f]*(?:[^\W\d_]+)?(?!\w)"
).match
_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2007\u2009\u202f", " ") | {"\u2019": "'"})
_FORMATS = [(group, decimal) for group, decimal in product(("", ",", ".", " ", "'"), ".,") if group != decimal]
_MAX_EXACT = 2**53
"""The largest whole number up to which a REAL holds every one."""

Kind = Literal["INTEGER", "REAL", "TEXT"]


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a column writes numbers: its mark between thousands, its decimal mark, and the sign that every cell has."""

    group: str = ""
    decimal: str = "."
    unit: str = ""

    def __str__(self) -> str:
        marks = [f"{self.decimal!r} before decimals"]
        marks += [f"{self.group!r} between thousands"] if self.group else []
        marks += [f"{self.unit!r} left out"] if self.unit else []
        return ", ".join(marks)

    def parse(self, text: str) -> int | float | None:
        """Return the number that a text is in this format, None if it is none.

        >>> NumberFormat(".", ",", "€").parse("1.234,5 €")
        1234.5
        """
        split = _split_unit(text)
        if split is None or split[1] not in {"", self.unit}:
            return None
        return _parse_body(split[0], self.group, self.decimal)


PLAIN = NumberFormat()


def is_plain_number(text: str) -> bool:
    """Whether a text is a number without any marks: 12, -0.5, 1e3; not 007, +1 or 1_000."""
    return _INTEGER(text) is not None or _REAL(text) is not None


def parse_plain(text: str) -> int | float | None:
    """Return a number without any marks that SQLite can hold, None for any other text."""
    if _INTEGER(text):
        return int(text) if len(text) < 30 and is_held(int(text)) else None
    if _REAL(text):
        value = float(text)
        return value if math.isfinite(value) else None
    return None


def is_missing(text: str) -> bool:
    """Whether a text stands for "missing" among numbers and dates.

    >>> is_missing("N/A"), is_missing("(no genres listed)"), is_missing("9")
    (True, True, False)
    """
    return text in MISSING


def begins_with_number(text: str) -> bool:
    """Whether a text is a number and something after it, such as a unit; a code such as 3f2a is none.

    >>> begins_with_number("90 min"), begins_with_number("1.5K"), begins_with_number("3f2a"), begins_with_number("A 1")
    (True, True, False, False)
    """
    return _BEGINNING(text[:80]) is not None


class NumberCollector:
    """Takes in the cells of a column one by one, and says how they are numbers, or why they are none.

    Args:
        decimal: the decimal mark, if the caller knows it.
    """

    def __init__(self, decimal: str | None = None) -> None:
        self.reason = ""
        """Why the cells are no numbers; empty as long as they may be."""
        self.n_numbers = 0
        self.are_whole = True
        """Whether every number without marks is whole."""
        self.lowest = self.highest = 0
        """Of the whole numbers, and 0."""
        self._decimal = decimal
        self._is_real = False
        self._max_integer = 0
        """Of those that are not written with decimals."""
        self._points: Literal["", "maybe", "certain"] = ""
        """Whether there are points before decimals, which may all be points between thousands."""
        self._unit: str | None = None
        self._first = ""
        """The first cell."""
        self._readings: dict[tuple[str, str], tuple[int, bool]] = {}
        """For each way to read the cells with marks that fits all of them: a hash of the numbers, and whether one has
        decimals. Empty without such cells."""
        self._marked = ""
        self._pointed = ""
        self.note = ""
        """What should be said of the numbers, though it is likely: that their points are no marks for thousands."""

    def add_value(self, value: float) -> bool:
        """Take in a number; False if SQLite cannot hold it as one."""
        if isinstance(value, int):
            if not is_held(value):
                self.reason = f"{value} has more than 64 bits"
                return False
            self._max_integer = max(self._max_integer, abs(value))
            whole = value
        else:
            if not math.isfinite(value):
                self.reason = f"{spelling(value)} is not finite"
                return False
            self._is_real = True
            whole = int(value)
            self.are_whole = self.are_whole and whole == value
        if whole < self.lowest:
            self.lowest = whole
        elif whole > self.highest:
            self.highest = whole
        self.n_numbers += 1
        return True

    def add(self, text: str) -> bool:
        """Take in a text; False if it shows that the column does not hold numbers; `reason` says why then."""
        if _INTEGER(text):
            value: float | None = int(text) if len(text) < 19 else parse_plain(text)
        elif self._decimal != "," and _REAL(text):
            value = parse_plain(text)
            if self._points != "certain":
                self._points, self._pointed = "maybe" if _LIKE_GROUPS(text) else "certain", text
        else:
            return self._add_marked(text)
        if value is None:
            self.reason = f"{text[:40]!r} has more than 64 bits"
            return False
        return self._has_unit("", text) and self.add_value(value)

    def _add_marked(self, text: str) -> bool:
        split = _split_unit(text)
        if split is None:
            self.reason = f"{text[:40]!r} is not a number"
            return False
        body, unit = split
        found = {}
        for marks, (before, has_decimals) in (self._readings or dict.fromkeys(_FORMATS, (0, False))).items():
            value = _parse_body(body, *marks)
            if value is not None:
                found[marks] = hash((before, value)), has_decimals or isinstance(value, float)
        if not found:
            other = f" in the same way as {self._marked!r}" if self._readings else ""
            self.reason = f"{text[:40]!r} cannot be read as a number{other}"
            return False
        self._readings, self._marked = found, text
        self.n_numbers += 1
        return self._has_unit(unit, text)

    def _has_unit(self, unit: str, text: str) -> bool:
        if self._unit is None:
            self._unit, self._first = unit, text
        elif self._unit != unit:
            self.reason = f"{self._first[:40]!r} and {text[:40]!r} have different units"
            return False
        return True

    @property
    def decimal_mark(self) -> str:
        """The decimal mark that the cells surely use, "" if that is unknown."""
        if self.reason:
            return ""
        if self._points == "certain":
            return "."
        fitting = self._fitting(None) if self._readings else {}
        marks = {decimal for _, decimal in fitting}
        return marks.pop() if len(marks) == 1 and all(has_decimals for _, has_decimals, _ in fitting.values()) else ""

    def format(self, decimal: str | None = None) -> NumberFormat | None:
        """Return how all cells are numbers; None if that is not certain, and `reason` says why. To call before `kind`.

        Args:
            decimal: the decimal mark of other columns.
        """
        if self.reason:
            return None
        unit = self._unit or ""
        if not self._readings:
            if self._points == "maybe":
                self.note = f"{self._pointed!r} is read with a decimal point"
            return PLAIN
        fitting = self._fitting(self._decimal or decimal)
        if not fitting:
            self.reason = f"{self._marked[:40]!r} and points before decimals do not go together"
        elif len(set(fitting.values())) > 1:
            values = sorted({str(NumberFormat(*marks, unit).parse(self._marked)) for marks in fitting})
            self.reason = f"{self._marked[:40]!r} may be {' or '.join(values)}"
        else:
            marks, (_, has_decimals, _) = next(iter(fitting.items()))
            self._is_real = self._is_real or has_decimals
            return NumberFormat(*marks, unit)
        return None

    def _fitting(self, decimal: str | None) -> dict[tuple[str, str], tuple[int, bool, bool]]:
        """Return the ways to read all cells: for each a hash, whether there are decimals, and whose points it takes."""
        fitting = {}
        for marks, reading in self._readings.items():
            is_point_grouping = marks[0] == "."
            fits_points = not self._points or marks[1] == "." or (is_point_grouping and self._points == "maybe")
            if fits_points and decimal in {None, marks[1]}:
                fitting[marks] = (*reading, bool(self._points) and is_point_grouping)
        return fitting

    @property
    def kind(self) -> Kind:
        """The SQL type that holds every cell as it is."""
        if self.reason or not self.n_numbers:
            return "TEXT"
        if not self._is_real:
            return "INTEGER"
        if self._max_integer > _MAX_EXACT:
            self.reason = f"a number with decimals cannot hold {self._max_integer} beside it"
            return "TEXT"
        return "REAL"


def is_held(value: int) -> bool:
    """Whether SQLite can hold a whole number as one: in 64 bits."""
    return -(2**63) <= value < 2**63


def _split_unit(text: str) -> tuple[str, str] | None:
    """Return the digits and marks of a number, with its sign, and its unit; None if it is no number with marks."""
    match = _MARKED(text)
    if match is None or (match["before"] and match["after"]) or (match["sign"] and match["inner_sign"]):
        return None
    sign = "-" if match["sign"] or match["inner_sign"] else ""
    return sign + match["body"].translate(_SPACES), match["before"] or match["after"] or ""


def _parse_body(body: str, group: str, decimal: str) -> int | float | None:
    sign, digits = (-1, body[1:]) if body.startswith("-") else (1, body)
    whole, mark, decimals = digits.partition(decimal)
    if group and group in whole:
        first, *groups = whole.split(group)
        # Groups of three, or as in India: three at the end and two before.
        sizes = [len(part) for part in groups]
        by_three = all(size == 3 for size in sizes)
        by_two = group == "," and sizes[-1] == 3 and all(size == 2 for size in sizes[:-1]) and len(first) <= 2
        if not (first and len(first) <= 3 and (by_three or by_two)) or first[0] == "0":
            return None
        whole = first + "".join(groups)
    if not (whole or decimals) or not (whole + decimals).isascii() or not (whole + decimals).isdigit():
        return None
    if (len(whole) > 1 and whole[0] == "0") or len(whole) > 30 or (mark and not decimals):
        return None
    if mark:
        value = sign * float(f"{whole or 0}.{decimals}")
        return value if math.isfinite(value) else None
    return sign * int(whole) if is_held(sign * int(whole)) else None
