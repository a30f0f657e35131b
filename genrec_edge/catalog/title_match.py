"""The match that a text gets of the items that go by it. `namesakes` chooses among them; `resolver` finds them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from genrec_edge.catalog import namesakes, titles
from genrec_edge.catalog.loose_titles import ALIAS, TITLE, typed_keys
from genrec_edge.catalog.namesakes import Choice, Found
from genrec_edge.records import Item, Match, Method

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_CANDIDATES = 5
_MARK = re.compile(r"[^\w\s]")
_HOW: tuple[tuple[Method, float], ...] = (
    ("exact", 1.0),
    ("normalised", 0.98),
    ("normalised", 0.98),
    ("normalised", 0.96),
    ("normalised", 0.94),
    ("alias", 0.92),
    ("part", 0.85),
    ("part", 0.85),
)
"""Method and confidence by the level of `namesakes`."""
_NEAR_YEAR_CONFIDENCE = 0.9
_NAMESAKE_CONFIDENCE = 0.9
"""Of an item that was taken of several: people mean it in 92 of 100 cases."""
_HISTORY_CONFIDENCE = 0.85


def year_note(text: str, year: int | None) -> str:
    """Return what is said of a title whose year is not the one that is given beside it, "" if they are the same.

    >>> year_note("Heat (1995)", 1972)
    'the year given beside it counts, 1972, not 1995'
    """
    _, written = titles.split_year(titles.clean(text))
    return "" if year is None or written in {None, year} else f"the year given beside it counts, {year}, not {written}"


def level(title: str, item: Item, kind: int) -> int:
    """Return how near the name of an item, of a kind of `loose_titles`, is to a text."""
    if kind != TITLE:
        return namesakes.ALIAS + kind - ALIAS
    spellings = (item.title, titles.canonical(item.title))
    if title in spellings:
        return namesakes.SPELLED
    if title.casefold() in map(str.casefold, spellings):
        return namesakes.SAME_MARKS
    key, of_item = titles.key(title), titles.key(item.title)
    if key == of_item:
        return namesakes.SAME_KEY
    return namesakes.SAME_LOOSE if titles.article(key) == titles.article(of_item) else namesakes.OTHER_ARTICLE


def is_as_written(title: str, item: Item) -> bool:
    """Whether an item has a title but for its article."""
    return titles.without_article(titles.key(title)) == titles.without_article(titles.key(item.title))


def differs_in_spaces_alone(title: str, item: Item) -> bool:
    """Whether an item has the letters of a title in other words; `fuzzy` knows whether that can be a typing error."""
    key, of_item = (titles.without_article(titles.key(text)) for text in (title, item.title))
    return key != of_item and key.replace(" ", "") == of_item.replace(" ", "")


def chosen(text: str, title: str, found: Sequence[Found], year: int | None) -> Match:
    """Return the match of the items that go by a title; without an item, and "none", if only the year differs."""
    if year is not None:
        choice = namesakes.of_year(found, year)
    else:
        choice = namesakes.of_any_year(
            found,
            has_marks=bool(_MARK.search(title)),
            is_number=typed_keys(title)[0].isdecimal(),
            n_words=len(titles.without_article(titles.key(title)).split()),
        )
    return _match(text, found, choice, year, _HOW[0 if choice.taken is None else choice.taken.level])


def chosen_of_one_title(
    text: str, items: Iterable[Item], year: int | None, method: Method, confidence: float
) -> Match | None:
    """Return the match of items that have one title but for its article; None if only the year differs."""
    found = [Found(item, namesakes.SAME_KEY) for item in items]
    if year is not None:
        choice = namesakes.of_year(found, year)
    else:
        choice = namesakes.of_any_year(found, has_marks=False, is_number=False, n_words=0)
    match = _match(text, found, choice, year, (method, confidence))
    return None if match.method == "none" else match


def settled(match: Match, years: Sequence[int]) -> Match:
    """Return the match of an item of several that is near the years of a history; the same match if none is."""
    item = namesakes.of_history(match.candidates, years)
    if match.item is not None or item is None:
        return match
    others = tuple(other for other in match.candidates if other != item)
    said = f"{namesakes.note(item, others)}; the rest of the history is of its time"
    return Match(match.input, item, "normalised", _HISTORY_CONFIDENCE, others, said)


def _match(text: str, found: Sequence[Found], choice: Choice, year: int | None, how: tuple[Method, float]) -> Match:
    if choice.taken is None:
        if not choice.others:
            return Match(text, None, "none", 0.0, candidates(f.item for f in found))
        return Match(text, None, "ambiguous", 0.0, candidates(choice.others))
    item = choice.taken.item
    method, confidence = how
    confidence *= _NEAR_YEAR_CONFIDENCE if year not in {None, item.year} else 1.0
    confidence *= _NAMESAKE_CONFIDENCE if choice.others else 1.0
    said = namesakes.note(item, choice.others)
    return Match(text, item, method, round(confidence, 3), candidates(choice.others), said)


def candidates(*groups: Iterable[Item]) -> tuple[Item, ...]:
    """Return the first items of these groups, each once."""
    unique = {item.row: item for group in groups for item in group}
    return tuple(unique.values())[:MAX_CANDIDATES]
