"""Finds the same film in another list: by title, year and the people who made it."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from genrec_edge.catalog import titles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genrec_edge.convert.films.film import Film

REACH = 1
"""Lists differ by a year between a festival and the cinemas; people are asked for beyond that."""
PEOPLE_REACH = 3
_BRACKETS = re.compile(r"\s*\((?!\d{4}\)$)[^()]*\)$")
_OR = re.compile(r"(?: or \(|[,:] or[,:]? | or[,:] ).*$", re.IGNORECASE)
_OWNER = re.compile(
    r"^(?:Marvel's|Disney's|Walt Disney's|National Lampoon's|Dr\. Seuss' |Tyler Perry's|Lee Daniels') *"
)
_EPISODE = re.compile("^(Star Wars): Episode [IVX]+ (?:\N{EN DASH}|-|:) ?", re.IGNORECASE)
_NUMERALS = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "two": "2", "three": "3"}


@functools.cache
def exact_key(title: str) -> str:
    """Return the key under which spellings are compared first; "(film)" and "(2010 film)" do not count."""
    return titles.key(re.sub(r" \((?:\d{4} )?(?:[a-z]+ )?film\)$", "", title))


@functools.cache
def loose_keys(title: str) -> list[str]:
    """Return further keys: without article, bracket, second title or owner; with digits for numerals."""
    stripped = _BRACKETS.sub("", _OR.sub("", title))
    spellings = [title, _BRACKETS.sub("", title), stripped, _OWNER.sub("", stripped), _EPISODE.sub(r"\1: ", title)]
    keys: dict[str, None] = {}
    for spelling in spellings:
        key = titles.without_article(titles.key(spelling))
        for word in (key, key.replace(" part ", " "), key.replace(" episode ", " ")):
            keys[" ".join(_NUMERALS.get(w, w) for w in word.split())] = None
    return [key for key in keys if key]


class Index:
    """Films by title; answers whether a list's row is one of them."""

    def __init__(self, films: Iterable[Film] = ()) -> None:
        self._exact: dict[str, list[Film]] = defaultdict(list)
        self._loose: dict[str, list[Film]] = defaultdict(list)
        for film in films:
            self.add(film)

    def add(self, film: Film) -> None:
        """Let a film be found by its title and its aliases."""
        for title in (film.title, *film.aliases):
            if film not in self._exact[exact_key(title)]:
                self._exact[exact_key(title)].append(film)
            for key in loose_keys(title):
                if film not in self._loose[key]:
                    self._loose[key].append(film)

    def named(self, title: str) -> list[Film]:
        """Return the films of this title, of any year."""
        return list(self._exact.get(exact_key(title), ()))

    def akin(self, title: str) -> list[Film]:
        """Return the films of a similar title, of any year."""
        return list(dict.fromkeys(film for key in loose_keys(title) for film in self._loose.get(key, ())))

    def remove(self, film: Film) -> None:
        """Forget a film that turned out to be another."""
        for table in (self._exact, self._loose):
            for found in table.values():
                if film in found:
                    found.remove(film)

    def find(self, film: Film) -> Film | None:
        """Return the same film, or None: when none is, or when two could be and nothing tells them apart."""
        for title in (film.title, *film.aliases):
            if (found := _best(film, self._exact.get(exact_key(title), ()))) is not None:
                return found
        loose = [
            other
            for title in (film.title, *film.aliases)
            for key in loose_keys(title)
            for other in self._loose.get(key, ())
        ]
        return _best(film, list(dict.fromkeys(loose)))


def shared(one: Film, other: Film) -> int:
    """Return how many people two films have in common, whatever they did."""
    mine = one.people("director") | one.people("cast")
    return len(mine & (other.people("director") | other.people("cast")))


def contradicts(one: Film, other: Film) -> bool:
    """Whether the people of two films tell them apart: none is shared, and both name them for the same task."""
    if shared(one, other):
        return False
    directors = one.people("director"), other.people("director")
    casts = one.people("cast"), other.people("cast")
    return all(directors) or min(map(len, casts)) >= 2


def _best(film: Film, others: Iterable[Film]) -> Film | None:
    ranked = []
    for other in others:
        distance, common = abs(other.year - film.year), shared(film, other)
        if distance <= (PEOPLE_REACH if common else REACH) and not contradicts(film, other):
            ranked.append(((common > 0, distance == 0, common, len(other.people("cast"))), other))
    ranked.sort(key=lambda pair: pair[0], reverse=True)
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        return None
    return ranked[0][1] if ranked else None
