"""Years in words: "1994", "the nineties", "from 1990 to 1995", "before 1980", "since the 80s". Knows no catalog."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.catalog.facts import DECADE, decade
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.intents.lexicon import Sentence

_SPELLED = {
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
_PARTS = {"early": (0, 4), "mid": (3, 6), "late": (5, 9)}
"""Years of a decade, the first and the last."""
_TIME = rf"(?:the\ )?(?:(?:early|mid|late)[ -])?(?:(?:1[89]|20)?\d0s|{'|'.join(_SPELLED)}|(?:1[89]|20)\d\d)(?!\w)"
_YEARS = re.compile(
    rf"""(?<![\w-])(?:
      (?:from|between)\ (?P<a>{_TIME})(?:\ (?:to|and|until|till|through)\ |-)(?P<b>{_TIME})
    | (?P<c>{_TIME})(?:\ (?:to|until|till|through)\ |-)(?P<d>{_TIME})
    | (?:before|pre|prior\ to|earlier\ than|older\ than)[ -](?P<below>{_TIME})
    | (?:after|post|later\ than|newer\ than)[ -](?P<above>{_TIME})
    | (?:until|till|up\ to)\ (?P<most>{_TIME})
    | since\ (?P<least>{_TIME})
    | (?:from\ )?(?P<on>{_TIME})\ (?:on|onwards?|(?:or|and)\ (?:later|newer|after))(?!\w)
    | (?:from\ )?(?P<back>{_TIME})\ (?:or|and)\ (?:earlier|older|before)(?!\w)
    | (?:(?P<cue>from|in|of|during)\ (?:the\ year\ )?)?(?P<plain>{_TIME})
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class YearSpan:
    """Words `start` to `end` (exclusive) of a sentence, and the condition on years they may state.

    `cue` is the preposition of a year or a decade that stands for itself, empty without one; None where the words can
    only be a condition. `is_open` says that years are bounded on one side only.
    """

    start: int
    end: int
    where: str
    facts: tuple[Fact, ...]
    cue: str | None
    is_open: bool


def year_spans(sentence: Sentence) -> Iterator[YearSpan]:
    """Yield what may be conditions on the year, from left to right; none overlaps another."""
    joined, starts = "", []
    for word in sentence.words:
        joined += {" ": " ", "-": "-", "": ""}.get(word.gap, " | ")
        starts.append(len(joined))
        joined += word.key
    at = {character: i for i, character in enumerate(starts)}
    for match in _YEARS.finditer(joined):
        start = at.get(match.start())
        if start is not None:
            end = start + sum(match.start() <= character < match.end() for character in starts)
            where, facts, is_open = _stated(match)
            yield YearSpan(start, end, where, facts, (match["cue"] or "") if match["plain"] else None, is_open)


def _stated(match: re.Match[str]) -> tuple[str, tuple[Fact, ...], bool]:
    """Return the condition of a match, the decade where one is meant, and whether it has one bound only."""
    for first, last in (("a", "b"), ("c", "d")):
        if match[first]:
            years = sorted((*_bounds(match[first]), *_bounds(match[last])))
            return f"year BETWEEN {years[0]} AND {years[-1]}", (), False
    for name, operator, bound in (
        ("below", "<", 0),
        ("above", ">", 1),
        ("most", "<=", 1),
        ("least", ">=", 0),
        ("on", ">=", 0),
        ("back", "<=", 1),
    ):
        if match[name]:
            return f"year {operator} {_bounds(match[name])[bound]}", (), True
    low, high = _bounds(match["plain"])
    if low == high:
        return f"year = {low}", (), False
    return f"year BETWEEN {low} AND {high}", (Fact(DECADE, decade(low)),), False


def _bounds(text: str) -> tuple[int, int]:
    """Return the first and the last year of a time as it is written.

    >>> _bounds("the late 80s"), _bounds("1994")
    ((1985, 1989), (1994, 1994))
    """
    *before, name = text.replace("-", " ").split()
    if name.isdigit():
        return int(name), int(name)
    first = _SPELLED.get(name) or int(name[:-1])
    if first < 100:
        first += 2000 if first < 20 else 1900
    low, high = next((_PARTS[word] for word in before if word in _PARTS), (0, 9))
    return first + low, first + high
