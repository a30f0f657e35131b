"""Free text to a catalog item: by the first of these steps that finds one, or the statement that none does.

1. title: the display spelling, or the same `titles.key`, with or without its leading article.
2. id: the text is the id of an item, or holds one as `item_ids.id_forms` knows them. Titles come first: 300 is a film.
3. other names: the same `loose_titles.loose_key` (Rocky 2 for Rocky II), another title (Se7en), or a part of a title,
   before a colon or after it, if the item is known well.
4. full-text: all words of the text are in one title only, and make up most of it.
5. fuzzy: one title is a few typing errors away, no other is as near, and every word that differs is unknown to the
   catalog, so that "The King" never becomes "The Ring".

Numbers must be equal in every step: a sequel is another film. A year in brackets, at the end or given
beside the title chooses among items of the same title; without one, `namesakes` says which item is meant.

How often that is right, for the films that come with the package after every tenth title was taken out (`figures` in
`tests/catalog/test_resolver.py`, seed 7; distorted texts that are another film's title left out). All films are as
likely to be drawn, so that few people know most of them:

    text                         n   accepted   right, of the accepted
    one typing error          1493      0.727      1.000
    two typing errors         1498      0.457      0.997
    two letters swapped       1499      0.732      1.000
    a word left out           1405      0.672      0.998
    two random words          3000      0.001      0
    a title taken out         2836      0.010      0
    all of these             11731      0.328      0.991

Of 337 well-known films as people type them (`tests/data/typed-titles.tsv`), 329 are understood, and none as another.

What is not accepted comes with candidates; the title meant is usually the first of them.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from genrec_edge.catalog import titles
from genrec_edge.catalog.fuzzy import TitleKeys, max_edits, numbers
from genrec_edge.catalog.item_ids import id_forms
from genrec_edge.catalog.loose_titles import typed_keys
from genrec_edge.catalog.name_index import NameFinder
from genrec_edge.catalog.namesakes import ALIAS, Found, has_fame, is_known
from genrec_edge.catalog.title_match import (
    MAX_CANDIDATES,
    candidates,
    chosen,
    chosen_of_one_title,
    differs_in_spaces_alone,
    is_as_written,
    level,
    settled,
    year_note,
)
from genrec_edge.records import Interaction, Item, Match

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from genrec_edge.catalog.reader import Catalog

_MAX_CHARACTERS = 2_000
_TRAILING_YEAR = re.compile(r"^(?P<title>.*\S)[\s,]+[(\[]?(?P<year>1[89]\d\d|20\d\d)[)\]]?$")

_OTHER_FORM_CONFIDENCE = 0.95
"""Of an id that is written in another way than the catalog does."""
_NUMBER_CONFIDENCE = 0.9
"""Of a bare number that is an id: whoever wrote it may have meant a title that the catalog does not have."""
_LONG_WORD = 7
_MIN_WORDS = 2
_MIN_COVERAGE = 0.6
"""Share of a title's letters that the words of a text must make up."""


class TitleResolver:
    """Finds the catalog items that texts mean. May be shared between threads.

    The names of all items are read with the first text, and the keys of all titles when the first text needs the fuzzy
    step; both again after the catalog changed.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._names = NameFinder(catalog)
        self._lock = threading.Lock()
        self._title_keys: tuple[str, TitleKeys] | None = None
        """The revision of the catalog, and its keys."""

    def resolve_interaction(self, interaction: Interaction) -> Match:
        """Return the item of an interaction: by its id if that exists, else by its title and year. Read-only."""
        if interaction.id is not None:
            match = self._by_id(interaction.id, 1.0)
            if match is not None:
                return match
            if interaction.title is None:
                return Match(interaction.id, None, "none", 0.0)
        return self.resolve(interaction.title or "", interaction.year)

    def resolve_history(self, history: Iterable[Interaction]) -> list[Match]:
        """Return the item of each interaction of a user; of namesakes, the time of the others may tell. Read-only."""
        matches = [self.resolve_interaction(interaction) for interaction in history]
        years = [match.item.year for match in matches if match.item is not None and match.item.year is not None]
        return [settled(match, years) if match.method == "ambiguous" else match for match in matches]

    def resolve(self, text: str, year: int | None = None, *, may_be_id: bool = True) -> Match:
        """Return the item that a text means; any text is allowed. Read-only.

        Where `Match.item` is None, the method is "ambiguous" if several items fit equally, and "none" if none fits
        well enough; `Match.candidates` then holds the nearest items, at most five. `Match.note` says what was decided:
        which of several namesakes was taken, or which of two years counts.

        Args:
            text: a title as people write it, or an id.
            year: of the item, where it is known; it counts more than one in the text.
            may_be_id: whether it may be an id; a text that a model wrote is none.
        """
        match = self._resolved(text, year, may_be_id=may_be_id)
        said = "" if match.method == "id" else year_note(text[:_MAX_CHARACTERS], year)
        return replace(match, note="; ".join(filter(None, [said, match.note])))

    def _resolved(self, text: str, year: int | None, *, may_be_id: bool) -> Match:
        query = titles.clean(text[:_MAX_CHARACTERS])
        if not query:
            return Match(text, None, "none", 0.0)
        readings = _readings(query, year)
        named = [_Named(title, year_meant, self._found(title)) for title, year_meant in readings]
        match = _by_names(text, [one for one in named if one.is_as_written])
        if match is None and may_be_id:  # an item 7 goes before Seven, and after one that is called 7
            match = self._by_id(text, _NUMBER_CONFIDENCE if query.isdecimal() else 1.0)
        match = match or _by_names(text, [one for one in named if not one.is_as_written])
        for step in (self._by_words, self._by_edits):
            for title, year_meant in readings:
                match = match or step(text, title, year_meant)
        if match is not None:
            return match
        shortest_title = min(title for title, _ in readings)
        of_other_years = [f.item for one in named for f in one.found]
        return Match(text, None, "none", 0.0, candidates(of_other_years, self._nearest(shortest_title)))

    def _found(self, title: str) -> list[Found]:
        """Return the items that go by a title, or by the first of its spellings that is a whole title, else any has."""
        found: list[Found] = []
        for key in typed_keys(title):
            of_key = [
                Found(item, level(title, item, kind))
                for item, kind in self._names.named(key)
                if not differs_in_spaces_alone(title, item) or is_known(item)
            ]
            if any(f.level < ALIAS for f in of_key):
                return of_key
            found = found or of_key
        return found

    def _by_id(self, text: str, confidence: float) -> Match | None:
        """Return the match of the first form of an id that the catalog has; None without any."""
        for forms in id_forms(text[:_MAX_CHARACTERS]):
            items = list(self._catalog.by_ids(forms).values())
            if len(items) == 1:
                is_as_written = items[0].id == text.strip()
                return Match(text, items[0], "id", confidence if is_as_written else _OTHER_FORM_CONFIDENCE)
            if items:
                return Match(text, None, "ambiguous", 0.0, candidates(items))
        return None

    def _by_words(self, text: str, title: str, year: int | None) -> Match | None:
        words = _words(title)
        if len(words) < _MIN_WORDS:
            return None
        found = self._catalog.search(title, MAX_CANDIDATES + 1, prefix=False)
        keys = {titles.without_article(titles.key(item.title)) for item in found}
        if len(keys) != 1 or len(found) > MAX_CANDIDATES:
            return None
        key = keys.pop()
        key_words = key.split()
        coverage = sum(map(len, words)) / len(key.replace(" ", ""))
        has_other_words = bool(Counter(words) - Counter(key_words))
        if has_other_words or coverage < _MIN_COVERAGE or numbers(words) != numbers(key_words):
            return None
        return chosen_of_one_title(text, found, year, "full-text", 0.6 + 0.3 * coverage)

    def _by_edits(self, text: str, title: str, year: int | None) -> Match | None:
        key = titles.key(title)
        title_keys = self._loaded_keys()
        near = title_keys.near(key, MAX_CANDIDATES)
        if not near or near[0].n_edits > max_edits(key) or not title_keys.is_typing_error(key, near[0].key):
            return None
        best = near[0]
        bare = titles.without_article(best.key)
        equally_near = [other.key for other in near if other.n_edits == best.n_edits]
        meant = [other for other in equally_near if titles.without_article(other) == bare]
        if len(meant) < len(equally_near):
            return Match(text, None, "ambiguous", 0.0, candidates(self._catalog.by_keys(equally_near)))
        similarity = 1 - best.n_edits / max(len(key), len(best.key))
        items = self._catalog.by_keys(meant)
        if len(bare) < _LONG_WORD and " " not in bare and has_fame(items[0]) and not any(map(is_known, items)):
            return Match(text, None, "ambiguous", 0.0, candidates(items))  # Moxie for Maxie, which is not there
        return chosen_of_one_title(text, items, year, "fuzzy", 0.9 * similarity)

    def _nearest(self, title: str) -> list[Item]:
        """Return the items that the user may have meant, likeliest first."""
        keys = self._loaded_keys().similar(titles.key(title), MAX_CANDIDATES)
        similar = sorted(self._catalog.by_keys(keys), key=lambda item: keys.index(titles.key(item.title)))
        return [*self._catalog.search(title, MAX_CANDIDATES), *similar]

    def _loaded_keys(self) -> TitleKeys:
        with self._lock:
            revision = self._catalog.revision
            if self._title_keys is None or self._title_keys[0] != revision:
                self._title_keys = (revision, TitleKeys(key for _, key, _ in self._catalog.title_keys()))
            return self._title_keys[1]


class _Named(NamedTuple):
    """One reading of a text: a title, a year, and the items that go by the title."""

    title: str
    year: int | None
    found: list[Found]

    @property
    def is_as_written(self) -> bool:
        """Whether one of the items has the title as it is written, but for its article."""
        return any(is_as_written(self.title, f.item) for f in self.found)


def _by_names(text: str, named: Sequence[_Named]) -> Match | None:
    """Return the match of the first reading whose title and year items have; None without any."""
    for title, year, found in named:
        if found and (match := chosen(text, title, found, year)).method != "none":
            return match
    return None


def _readings(query: str, given_year: int | None) -> list[tuple[str, int | None]]:
    """Return the (title, year) that a text can mean, likeliest first."""
    title, year = titles.split_year(query)
    if given_year is not None:
        return list(dict.fromkeys([(title, given_year), (query, given_year)]))
    if year is not None:
        return [(title, year), (query, None)]
    match = _TRAILING_YEAR.match(query)
    if match is None:
        return [(query, None)]
    return [(query, None), (match["title"], int(match["year"]))]


def _words(title: str) -> list[str]:
    return titles.without_article(titles.key(title)).split()
