"""How well known a film is, 0 to 100, so that films of different years can be compared.

People rated films in 2013 and talked of films in 2017 and 2018: the counts favour what was new then, and end there.
They are taken as they are for films up to `LAST_PLAIN`. A later film is put in order within its year by whatever there
is (counts, stars, lists), and gets the score of the film at the same place in the years `REFERENCE`.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genrec_edge.convert.films.film import Film

LAST_PLAIN = 2005
REFERENCE = range(1996, 2006)
TOP = 100
_BEST_OF_A_PERSON = 4
_STARS_OF_A_FILM = 5
_STARS, _STARS_LISTED, _CAST, _AWARDS = 0.06, 0.3, 0.22, 8.6
"""How many doublings of the counts go with these facts: least squares over the films of 2006 to 2012 (r = .70)."""
_RENOWN = 6.0
_LISTS_END = 2023
"""The last year of Wikipedia's American lists."""
_SHARES = ((2012, 1.0, 0.2), (2013, 0.6, 0.5), (2017, 1.0, 0.4), (2018, 0.4, 0.8), (9999, 0.0, 1.0))
"""To which year counts and facts weigh how much: ratings end in 2013, mentions early in 2018."""


def counts_score(film: Film) -> float:
    """Return how much people rated and talked, in doublings."""
    return math.log2(1 + film.ratings) + math.log2(1 + 2 * film.mentions)


def award_score(film: Film) -> float:
    """Return 0 to 1: nominations count a little, prizes more."""
    found = re.findall(r"(Won|Nominated for) (\d+)", film.awards or "")
    total = sum(int(count) * (3 if word == "Won" else 1) for word, count in found)
    return min(1.0, math.log2(1 + total) / 5)


def facts_score(film: Film, stars: float) -> float:
    """Return what a film's facts say of its fame: who is in it, how many are named, prizes, the list by hand."""
    listed = bool(film.lead) or film.year > _LISTS_END
    cast = math.log2(1 + min(30, len(film.facts.get("cast", ()))))
    return (
        (_STARS + _STARS_LISTED * listed) * stars + _CAST * cast + _AWARDS * award_score(film) + _RENOWN * film.renown
    )


class Stars:
    """How known people are, by the best known of their other films."""

    def __init__(self, films: Iterable[Film]) -> None:
        self._films: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for film in films:
            for person in film.people("director") | film.people("cast"):
                self._films[person].append((counts_score(film), film.id))
        for person, found in self._films.items():
            self._films[person] = sorted(found, reverse=True)[: _BEST_OF_A_PERSON + 1]

    def of(self, film: Film) -> float:
        """Return the mean of the best known people of a film."""
        people = film.people("director") | film.people("cast")
        best = sorted((self._person(person, film.id) for person in people), reverse=True)[:_STARS_OF_A_FILM]
        return sum(best) / _STARS_OF_A_FILM

    def _person(self, person: str, but: str) -> float:
        scores = [score for score, film_id in self._films[person] if film_id != but][:_BEST_OF_A_PERSON]
        return sum(scores) / _BEST_OF_A_PERSON


def known(films: list[Film]) -> dict[str, int]:
    """Return the score of every film by its id."""
    stars = Stars(films)
    scores = {film.id: _score(film, stars.of(film)) for film in films}
    by_year: dict[int, list[Film]] = defaultdict(list)
    for film in films:
        by_year[film.year].append(film)
    curve = sorted((scores[film.id] for year in REFERENCE for film in by_year.get(year, ())), reverse=True)
    for year, found in by_year.items():
        if year > LAST_PLAIN:
            found.sort(key=lambda film: (-scores[film.id], film.id))
            for place, film in enumerate(found):
                at = place * len(REFERENCE) + len(REFERENCE) // 2
                scores[film.id] = curve[at] if at < len(curve) else 0.0
    top = curve[0] if curve else 1.0
    return {film_id: max(0, min(TOP, round(TOP * score / top))) for film_id, score in scores.items()}


def _score(film: Film, stars: float) -> float:
    """Return the order within a year; where counts have ended, facts take their place."""
    counts, facts = next((counts, facts) for last, counts, facts in _SHARES if film.year <= last)
    return round(counts * counts_score(film) + facts * facts_score(film, stars), 6)
