"""Which of several items of one name is meant: by the year, else the one that is known far better; how that is said.

How well an item is known stands in the column `known` of its catalog, 0 to 100, if it has one. One item is known far
better than another by 20 points, or by 10 if it has three times as many. Of 1,372 titles of the shipped films that
films of several years have, 481 have such a film. People who name one of these mean that film in 93 of 100 cases
(ratings of MovieTweetings) or 92 (mentions in ReDial); the best known one of any title would be right in 86 and 84.

Where none is known far better, the years of the other titles of a history may tell: the item is meant that most of
them are within five years of, if at most a tenth are so near to another. Of 3,574 such titles in ratings of
MovieTweetings, with ten others of the same person, that decides 52 in 100 and is right in 94 of these; with two
others, 44 and 93. Facts in common decide 38 and are right in 91. Where years and fame disagree, each is right half the
time: fame goes first. Whatever is taken so, the note says it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from genrec_edge.catalog import titles
from genrec_edge.catalog.name_columns import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from genrec_edge.records import Item

SPELLED, SAME_MARKS, SAME_KEY, SAME_LOOSE, OTHER_ARTICLE, ALIAS, PART, SEQUEL = range(8)
"""How near the name of an item is to a text, the nearest first. Articles differ only where the text has none."""

_FAR, _LEAST, _TIMES = 20, 10, 3
_TIMES_TO_ASK = 2
"""An item that a text names less nearly is asked about if it is known so many times better, and by 20 points."""
_WELL_KNOWN, _BEST_KNOWN, _FEW_WORDS = 40, 60, 2
"""How well an item is known for which a part of its title is enough, if that has two words, or one: Ragnarok."""
_REACH = 5
_NEAR, _NEAR_ANOTHER = 0.5, 0.1
"""Shares of a history."""
_LEAST_HISTORY = 2
_MAX_NAMED = 4
_NEAR_YEARS = (0, 1)
"""Catalogs disagree by a year about films that opened at a festival first."""


class Found(NamedTuple):
    """An item that a text may mean, and how near its name is."""

    item: Item
    level: int


class Choice(NamedTuple):
    """What was taken of several items, None if that is not clear; and the others that may be meant."""

    taken: Found | None
    others: tuple[Item, ...] = ()


def of_year(found: Sequence[Found], year: int) -> Choice:
    """Return the item of a year, the nearest name first; else of a neighbouring year, or without a year.

    There are no others where no year fits.
    """
    for distance in _NEAR_YEARS:
        fitting = [f for f in found if _distance(f.item, year) == distance and (distance == 0 or f.level != SEQUEL)]
        if fitting:
            level = min(f.level for f in fitting)
            return _clear([f for f in fitting if f.level == level])
    return Choice(None)


def of_any_year(found: Sequence[Found], *, has_marks: bool, is_number: bool, n_words: int) -> Choice:
    """Return the item that is meant without a year.

    Args:
        found: the items, at least one; of equally good ones the first is taken.
        has_marks: whether the text has punctuation, so that its spelling says more than its words: "Mother!".
        is_number: whether the text is a number alone: 9 and Nine are two titles, and Ocean's 11 and Eleven are one.
        n_words: of the text.
    """
    level = min(f.level for f in found)
    if level <= SAME_LOOSE:
        titled = [f for f in found if f.level <= SAME_LOOSE]
        choice = _of_titled(titled, has_marks=has_marks, is_number=is_number)
        choice = _or_other_article(choice, [f for f in found if f.level == OTHER_ARTICLE])
    else:
        group = [f for f in found if f.level == level or (level == PART and f.level == SEQUEL)]
        choice = _clear(group)
        if choice.taken is not None and level >= PART and not _is_taken_by_part(choice.taken, n_words):
            choice = Choice(None, _items(group))
    return _or_asked(choice, [f for f in found if f.level >= ALIAS and f.level > level])


def of_history(items: Sequence[Item], years: Sequence[int]) -> Item | None:
    """Return the one of several items of one title that fits the years of a history; None if none does clearly."""
    is_one_title = len({titles.without_article(titles.key(item.title)) for item in items}) == 1
    if not is_one_title or len(years) < _LEAST_HISTORY:
        return None
    shares = [
        (0.0 if item.year is None else sum(abs(year - item.year) <= _REACH for year in years) / len(years))
        for item in items
    ]
    best, second = sorted(shares, reverse=True)[:2] if len(shares) > 1 else (shares[0], 0.0)
    return items[shares.index(best)] if best > _NEAR and second <= _NEAR_ANOTHER else None


def _of_titled(titled: Sequence[Found], *, has_marks: bool, is_number: bool) -> Choice:
    """Choose among items whose title is the text: all spellings together, then the nearer ones, where that is clear."""
    has_known = any(has_fame(f.item) for f in titled)
    limits = [SAME_KEY, SAME_LOOSE] if is_number else [SAME_LOOSE, SAME_KEY]
    if has_marks:
        limits.append(SAME_MARKS)
    if not has_known:
        limits.append(SPELLED)
    group = titled
    for limit in limits:
        nearer = [f for f in titled if f.level <= limit and (f.level <= SAME_KEY or not is_number or is_known(f.item))]
        if nearer and (taken := _clear(nearer).taken) is not None:
            return Choice(taken, _others(taken, titled))
        group = nearer or group
        if nearer and is_number:
            break
    return Choice(None, _items(group))


def _or_other_article(choice: Choice, others: Sequence[Found]) -> Choice:
    """Return a choice, or instead of an item that hardly anybody knows the one with "The": The Descent for Descent."""
    if choice.taken is None or not others:
        return choice
    best, taken = _clear(others).taken, choice.taken
    if best is not None and _known(best.item) >= max(_TIMES * _known(taken.item), _known(taken.item) + _LEAST):
        return Choice(best, (taken.item, *choice.others))
    better = [f.item for f in others if _known(f.item) > _known(taken.item)]
    return Choice(taken, (*_by_fame(better), *choice.others))


def _or_asked(choice: Choice, further: Sequence[Found]) -> Choice:
    """Return a choice with items that are known far better, but named less nearly; or ask about them."""
    if choice.taken is None:
        return choice
    fame = _known(choice.taken.item)
    better = _by_fame(f.item for f in further if _known(f.item) >= fame + _FAR)
    if better and _known(better[0]) >= _TIMES_TO_ASK * fame:
        return Choice(None, (*better, choice.taken.item, *choice.others))
    return Choice(choice.taken, (*better, *choice.others))


def _clear(group: Sequence[Found]) -> Choice:
    """Return the item of a group where that is clear: all have one title and year, or one is known far better."""
    ranked = sorted(group, key=lambda f: -_known(f.item))
    others = [f for f in ranked if _identity(f.item) != _identity(ranked[0].item)]
    if not others:
        return Choice(ranked[0])
    first, second = _known(ranked[0].item), _known(others[0].item)
    if first >= second + _FAR or first >= max(_TIMES * second, second + _LEAST):
        return Choice(ranked[0], _others(ranked[0], group))
    return Choice(None, _items(group))


def _is_taken_by_part(found: Found, n_words: int) -> bool:
    """Whether a part of a title is enough: not of a sequel, nor of what few know, who may mean something else."""
    if found.level == SEQUEL:
        return False
    if not has_fame(found.item):
        return n_words >= _FEW_WORDS
    return _known(found.item) >= (_WELL_KNOWN if n_words >= _FEW_WORDS else _BEST_KNOWN)


def has_fame(item: Item) -> bool:
    """Whether the catalog of an item says how well its items are known, in numbers."""
    return not isinstance(item.columns.get(KNOWN, ""), str)


def is_known(item: Item) -> bool:
    """Whether so many know an item that a text which is near to its title means it, and no title that is not there."""
    return _known(item) >= _FAR


def note(taken: Item, others: Sequence[Item]) -> str:
    """Return what is said of an item that was taken of several, "" without others.

    >>> from genrec_edge.coordinates import CatalogRow
    >>> heat = [Item(CatalogRow(row), str(row), "Heat", year) for row, year in enumerate([1995, 1986])]
    >>> note(heat[0], heat[1:])
    'took the one of 1995; there is also 1986'
    """
    if not others:
        return ""
    is_one_title = all(item.title == taken.title and item.year is not None for item in (taken, *others))
    what = f"the one of {taken.year}" if is_one_title else label(taken)
    named = [str(other.year) if is_one_title else label(other) for other in others[:_MAX_NAMED]]
    if len(others) > _MAX_NAMED:
        named.append(f"{len(others) - _MAX_NAMED} more")
    return f"took {what}; there {'is' if len(named) == 1 else 'are'} also {_listed(named, 'and')}"


def question(items: Sequence[Item]) -> str:
    """Return several items as a question, at least one.

    >>> from genrec_edge.coordinates import CatalogRow
    >>> question([Item(CatalogRow(row), str(row), "The Avengers", year) for row, year in enumerate([1998, 2012])])
    'The Avengers (1998) or (2012)?'
    """
    named = [label(items[0])]
    for before, item in pairwise(items):
        is_same = item.title == before.title and item.year is not None
        named.append(f"({item.year})" if is_same else label(item))
    return f"{_listed(named, 'or')}?"


def label(item: Item) -> str:
    """Return a title with its year, if it has one."""
    return item.title if item.year is None else titles.with_year(item.title, item.year)


def _listed(named: Sequence[str], word: str) -> str:
    return " ".join([", ".join(named[:-1]), word, named[-1]]) if len(named) > 1 else named[0]


def _items(found: Iterable[Found]) -> tuple[Item, ...]:
    """Return items, the nearest names first, of these the best known."""
    ranked = sorted(found, key=lambda f: (f.level >= ALIAS, -_known(f.item)))
    return tuple(f.item for f in ranked)


def _others(taken: Found, found: Iterable[Found]) -> tuple[Item, ...]:
    return tuple(item for item in _items(found) if _identity(item) != _identity(taken.item))


def _by_fame(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: -_known(item))


def _identity(item: Item) -> tuple[str, int | None]:
    """Return what a reader tells an item by."""
    return titles.key(item.title), item.year


def _known(item: Item) -> float:
    value = item.columns.get(KNOWN)
    return float(value) if isinstance(value, int | float) else 0.0


def _distance(item: Item, year: int) -> int:
    return 1 if item.year is None else abs(item.year - year)
