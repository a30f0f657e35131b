"""One film while it is put together, and what the sources say of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from genrec_edge.catalog import titles

FACTS = ("genres", "director", "cast", "country", "language")
"""The lists of a film, in the order of the data file."""


WHOLE_GENRES = frozenset({"bokeh", "by hand"})
"""Sources that name all genres of a film."""


@functools.cache
def _keys(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(titles.key(name) for name in names)


@dataclass(eq=False)
class Film:
    """Facts of one film, and the evidence of how well it is known."""

    title: str
    year: int
    source: str
    id: str = ""
    facts: dict[str, list[str]] = field(default_factory=dict)
    runtime: int | None = None
    awards: str | None = None
    aliases: list[str] = field(default_factory=list)
    lead: str = ""
    """The first sentences of an article; words are taken out of it, it is never written anywhere."""
    marks: set[str] = field(default_factory=set)
    """Words of a source's own list of kinds, such as "Superhero", that are no genre here."""
    sources: set[str] = field(default_factory=set)
    ratings: int = 0
    mentions: int = 0
    words: list[str] = field(default_factory=list)
    """Keywords that were given by hand."""
    renown: int = 0
    """0, or 1 to 3 where the list by hand has the film."""

    def __post_init__(self) -> None:
        self.sources.add(self.source)

    def people(self, fact: str) -> frozenset[str]:
        """Return the comparison keys of the people of one list."""
        return _keys(tuple(self.facts.get(fact, ())))

    def absorb(self, other: Film) -> None:
        """Take over what `other`, the same film in a later source, has and this one lacks."""
        for name, values in other.facts.items():
            self.facts[name] = self._better(name, self.facts.get(name, []), values)
        self.runtime = self.runtime or other.runtime
        self.awards = self.awards or other.awards
        self.lead = self.lead or other.lead
        self.id = self.id or other.id
        self.aliases += [alias for alias in (other.title, *other.aliases) if alias not in (self.title, *self.aliases)]
        self.marks |= other.marks
        self.sources |= other.sources
        self.ratings += other.ratings
        self.mentions += other.mentions
        self.words += [word for word in other.words if word not in self.words]
        self.renown = max(self.renown, other.renown)

    def _better(self, name: str, mine: list[str], values: list[str]) -> list[str]:
        """Return the more complete list: genres add up where a source names one or two, a cast by hand is short."""
        if not mine or (name == "cast" and self.source == "by hand" and len(values) > len(mine)):
            return list(values)
        if name == "genres" and self.source not in WHOLE_GENRES:
            return list(dict.fromkeys([*mine, *values]))
        return mine

    def record(self, keywords: list[str], aliases: list[str], known: int) -> dict[str, object]:
        """Return the line of the data file; a field without a value is left out."""
        row: dict[str, object] = {"id": self.id, "title": self.title, "year": self.year}
        row |= {name: self.facts.get(name) for name in FACTS}
        row |= {"runtime": self.runtime, "awards": self.awards}
        row |= {"keywords": keywords, "aliases": aliases, "known": known}
        return {name: value for name, value in row.items() if value not in (None, [])}
