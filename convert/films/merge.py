"""Puts the lists together: every source is joined to what is there, and adds what it alone has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from genrec_edge.catalog import titles
from genrec_edge.convert.films import leads
from genrec_edge.convert.films.film import Film
from genrec_edge.convert.films.joins import Index, exact_key, shared

if TYPE_CHECKING:
    from collections.abc import Iterable

MIN_RATINGS = 3
MIN_RATINGS_SHORT = 5
MIN_MENTIONS = 2
MIN_CAST = 3
MAX_SHARED = 3
"""So many people a film and its remake may have in common."""
OLD = 1940
"""Films before that no other list has are picked by mistake."""
NAMESAKE = 3
"""A namesake that is so many times as well known was meant."""
MODERN = 2015
"""From here on Wikidata's list lacks kinds of films, and Wikipedia's is taken over."""


@dataclass
class Merged:
    """The films so far, and how many rows of which source went where."""

    films: list[Film] = field(default_factory=list)
    index: Index = field(default_factory=Index)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, film: Film) -> None:
        """Take a film that no earlier source has."""
        self.films.append(film)
        self.index.add(film)
        self.counts[f"{film.source}: added"] += 1

    def join(self, film: Film) -> bool:
        """Give a row to the film it is about; say whether there is one."""
        found = self.index.find(film)
        if found is None:
            return False
        found.absorb(film)
        self.counts[f"{film.source}: joined"] += 1
        return True

    def drop(self, film: Film, reason: str) -> None:
        """Count a row that is left out."""
        self.counts[f"{film.source}: left out, {reason}"] += 1


def is_rerelease(film: Film, index: Index) -> bool:
    """Whether an older film has the same title and director, or much of the cast: the year is that of a re-release."""
    return any(
        other.year < film.year
        and (film.people("director") & other.people("director") or shared(film, other) > MAX_SHARED)
        for other in index.named(film.title)
    )


def add_titles(merged: Merged, listed: Iterable[Film]) -> None:
    """Let the first films be found by the titles that IMDb has for them, too."""
    by_id = {film.id: film for film in merged.films}
    for row in listed:
        film = by_id.get(row.id)
        if film is not None and row.title not in (film.title, *film.aliases):
            film.aliases.append(row.title)
            merged.index.add(film)


def add_wikidata(merged: Merged, rows: Iterable[Film], elsewhere: Index) -> None:
    """Add the films since 2015, the oldest release of each; obscure ones only if another list has them."""
    for film in sorted(rows, key=lambda row: (row.year, -len(row.facts["cast"]), int(row.id[1:]))):
        if is_rerelease(film, merged.index):
            merged.drop(film, "a re-release")
        elif merged.join(film):
            continue
        elif not film.facts["cast"] and elsewhere.find(film) is None:
            merged.drop(film, "no actors and in no other list")
        else:
            merged.add(film)


def add_by_hand(merged: Merged, rows: Iterable[Film]) -> None:
    """Join the well-known films, under the title and year they are known by; add what is missing."""
    for film in rows:
        found = merged.index.find(film)
        if found is None:
            merged.add(film)
            continue
        if found.source != "bokeh":
            film.aliases.append(found.title)
            found.title, found.year = film.title, film.year
        found.absorb(film)
        merged.index.add(found)
        merged.counts["by hand: joined"] += 1
        for other in _doubles(film, found, merged.index):
            found.absorb(other)
            merged.films.remove(other)
            merged.index.remove(other)
            merged.drop(other, "the same under another title")


def _doubles(film: Film, found: Film, index: Index) -> list[Film]:
    """Return further entries of the same film, found by its aliases and a shared person."""
    others: dict[Film, None] = {}
    for alias in film.aliases:
        other = index.find(Film(alias, film.year, "by hand", facts=film.facts))
        if other is not None and other is not found and other.source != "bokeh" and shared(other, film):
            others[other] = None
    return list(others)


def add_wikipedia(merged: Merged, rows: Iterable[Film]) -> Index:
    """Join the American lists, add their films since 2015 that have a lead and actors; return the rest."""
    rest = Index()
    for film in rows:
        found = merged.index.find(film)
        if found is not None:
            year = leads.year(film.lead)
            if found.source == "wikidata" and year and shared(found, film) and not found.renown:
                found.year = year
            found.absorb(film)
            merged.counts["wikipedia: joined"] += 1
        elif (
            film.year < MODERN
            or film.title.startswith("Untitled ")
            or not film.lead
            or len(film.facts["cast"]) < MIN_CAST
            or not film.facts["genres"]
        ):
            rest.add(film)
        elif is_rerelease(film, merged.index):
            merged.drop(film, "a re-release")
        else:
            merged.add(film)
    return rest


def add_movietweetings(merged: Merged, rated: Iterable[Film], ratings: Counter[str]) -> None:
    """Give the counts of ratings to the films, and add films that three people rated."""
    by_id = {film.id: film for film in merged.films}
    for film in rated:
        film.ratings = ratings[film.id]
        if (same := by_id.get(film.id)) is not None:
            same.absorb(film)
            merged.counts["movietweetings: joined by id"] += 1
        elif film.ratings and merged.join(film):
            continue
        elif film.ratings < (MIN_RATINGS_SHORT if "Short" in film.marks else MIN_RATINGS):
            merged.drop(film, "rated by too few")
        else:
            merged.add(film)


def add_redial(merged: Merged, rows: Iterable[Film], rest: Index, numbers: Index) -> None:
    """Give the counts of mentions to the films, and add films mentioned twice of which something is known."""
    for film in rows:
        if film.year == 0 and not _date(film, merged.index, rest):
            merged.drop(film, "no year")
            continue
        if merged.join(film):
            continue
        facts = [found for found in (rest.find(film), numbers.find(film)) if found is not None]
        if film.mentions < MIN_MENTIONS or not facts:
            merged.drop(film, "mentioned once" if facts else "not known to be a film")
            continue
        for found in facts:
            film.absorb(found)
        if _is_mistaken(film, merged.index):
            merged.drop(film, "a better known film was meant")
        else:
            merged.add(film)


def _is_mistaken(film: Film, index: Index) -> bool:
    """Whether somebody who picked this film from a list meant its namesake: "Signs" of 2002, not the short of 2008."""
    if film.year < OLD:
        return True
    is_obscure = not (film.people("director") or film.people("cast"))
    least = film.mentions * (1 if is_obscure else NAMESAKE)
    return any(other.ratings + other.mentions > least for other in index.akin(film.title))


def drop_rereleases(merged: Merged) -> None:
    """Leave out films of Wikidata that turned out to be re-releases when all lists were there."""
    for film in [film for film in merged.films if film.source == "wikidata" and not film.renown]:
        if is_rerelease(film, merged.index):
            merged.films.remove(film)
            merged.index.remove(film)
            merged.drop(film, "a re-release")


def _date(film: Film, index: Index, rest: Index) -> bool:
    """Give a film without a year that of the best known film of its title; say whether there is one."""
    named = index.named(film.title) or rest.named(film.title)
    if not named:
        return False
    film.year = max(
        named, key=lambda other: (other.ratings, len(other.sources), len(other.people("cast")), other.year)
    ).year
    return True


def number(merged: Merged, numbers: Index) -> None:
    """Give IMDb ids to films that have none, or Wikidata's; where no list has one, an id of title and year."""
    used = {film.id for film in merged.films}
    for film in merged.films:
        if film.id.startswith("tt"):
            continue
        found = numbers.find(film)
        if found is not None and found.id not in used:
            film.id = found.id
            film.absorb(found)
        elif not film.id:
            film.id = f"{titles.key(film.title).replace(' ', '-')}-{film.year}"
        used.add(film.id)


def without_doubles(merged: Merged) -> list[Film]:
    """Return the films, of several with one title and year the one of which more is known; the first films all stay."""
    kept: dict[tuple[str, int], Film] = {}
    films: list[Film] = []
    for film in sorted(merged.films, key=_weight):
        place = exact_key(film.title), film.year
        if place in kept and film.source != "bokeh":
            merged.drop(film, "the title and year of another")
            continue
        kept[place] = film
        films.append(film)
    return films


def _weight(film: Film) -> tuple[bool, int, int, int, str]:
    return film.source != "bokeh", -film.renown, -film.ratings - film.mentions, -len(film.people("cast")), film.id
