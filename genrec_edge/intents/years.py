"""Conditions on years in words: "1994", "the nineties", "from 1990 to 1995", "before 1980". Knows no catalog."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.catalog.facts import DECADE, decade
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.intents.lexicon import Sentence

_DECADES = {
    "twenties": 1920,
    "thirties": 1930,
    "forties": 1940,
    "fifties": 1950,
    "sixties": 1960,
    "seventies": 1970,
    "eighties": 1980,
    "nineties": 1990,
    "noughties": 2000,
}
_DECADE_PARTS = {"early": (0, 4), "mid": (3, 6), "late": (5, 9)}
"""The first and the last year of a part of a decade."""
_TIME = rf"(?:the\ )?(?:(?:early|mid|late)[ -])?(?:(?:1[89]|20)?\d0s|{'|'.join(_DECADES)}|(?:1[89]|20)\d\d)(?!\w)"
_YEARS = re.compile(
    rf"""(?<![\w-])(?:
      (?:from|between)\ (?P<between_first>{_TIME})(?:\ (?:to|and|until|till|through)\ |-)(?P<between_last>{_TIME})
    | (?P<range_first>{_TIME})(?:\ (?:to|until|till|through)\ |-)(?P<range_last>{_TIME})
    | (?:before|pre|prior\ to|earlier\ than|older\ than)[ -](?P<before>{_TIME})
    | (?:after|post|later\ than|newer\ than)[ -](?P<after>{_TIME})
    | (?:until|till|up\ to)\ (?P<until>{_TIME})
    | since\ (?P<since>{_TIME})
    | (?:from\ )?(?P<or_later>{_TIME})\ (?:on|onwards?|(?:or|and)\ (?:later|newer|after))(?!\w)
    | (?:from\ )?(?P<or_earlier>{_TIME})\ (?:or|and)\ (?:earlier|older|before)(?!\w)
    | (?:(?P<cue>from|in|of|during)\ (?:the\ year\ )?)?(?P<alone>{_TIME})
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class YearSpan:
    """Words `start` to `end` (exclusive) of a sentence, and the condition on years they may state.

    Attributes:
        where: the condition.
        facts: the decade, if the words name one.
        cue: the preposition before a single year or decade, empty without one; None where the words can only be a
            condition.
        is_open: whether the years have one bound only.
    """

    start: int
    end: int
    where: str
    facts: tuple[Fact, ...]
    cue: str | None
    is_open: bool


def year_spans(sentence: Sentence) -> Iterator[YearSpan]:
    """Yield what may be conditions on the year, from left to right, without overlaps."""
    text = ""
    offsets: list[int] = []
    for word in sentence.words:
        text += word.gap if word.gap in {" ", "-", ""} else " | "
        offsets.append(len(text))
        text += word.key
    for match in _YEARS.finditer(text):
        if match.start() not in offsets:
            continue
        start = offsets.index(match.start())
        end = start + sum(match.start() <= offset < match.end() for offset in offsets)
        where, facts, is_open = _condition(match)
        cue = (match["cue"] or "") if match["alone"] else None
        yield YearSpan(start, end, where, facts, cue, is_open)


def _condition(match: re.Match[str]) -> tuple[str, tuple[Fact, ...], bool]:
    """Return the condition of a match, the decade that it names, and whether it has one bound only."""
    for first, last in (("between_first", "between_last"), ("range_first", "range_last")):
        if match[first]:
            years = sorted((*_bounds(match[first]), *_bounds(match[last])))
            return f"year BETWEEN {years[0]} AND {years[-1]}", (), False
    for name, operator, bound in (
        ("before", "<", 0),
        ("after", ">", 1),
        ("until", "<=", 1),
        ("since", ">=", 0),
        ("or_later", ">=", 0),
        ("or_earlier", "<=", 1),
    ):
        if match[name]:
            return f"year {operator} {_bounds(match[name])[bound]}", (), True
    low, high = _bounds(match["alone"])
    if low == high:
        return f"year = {low}", (), False
    return f"year BETWEEN {low} AND {high}", (Fact(DECADE, decade(low)),), False


def _bounds(text: str) -> tuple[int, int]:
    """Return the first and the last year of a year or a decade in words.

    >>> _bounds("the late 80s"), _bounds("1994")
    ((1985, 1989), (1994, 1994))
    """
    *before, name = text.replace("-", " ").split()
    if name.isdigit():
        return int(name), int(name)
    first = _DECADES.get(name) or int(name[:-1])
    if first < 100:
        first += 2000 if first < 20 else 1900
    low, high = next((_DECADE_PARTS[word] for word in before if word in _DECADE_PARTS), (0, 9))
    return first + low, first + high
