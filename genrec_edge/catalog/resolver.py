"""Free text to a catalog item: by the first of five steps that finds one, or the statement that none does.

1. exact: the display spelling.
2. normalised: the same `titles.key`, with or without its leading article.
3. id: the text is the id of an item, or holds one as `item_ids.id_forms` knows them. Titles come first: 300 is a film.
4. full-text: all words of the text are in one title only, and make up most of it.
5. fuzzy: one title is a few typing errors away, no other is as near, and every word that differs is unknown to the
   catalog, so that "The King" never becomes "The Ring".

Numbers must be equal in every step: a sequel is another film. A year in brackets, at the end or given
beside the title chooses among items of the same title.

How often that is right, for the films that come with the package after every tenth title was taken out (`figures` in
`tests/catalog/test_resolver.py`, seed 7; distorted texts that are another film's title left out):

    text                         n   accepted   right, of the accepted
    one typing error          1498      0.780      1.000
    two typing errors         1499      0.514      0.999
    two letters swapped       1498      0.816      1.000
    a word left out           1423      0.694      1.000
    two random words          3000      0.001      0
    a title taken out         1743      0.012      0
    all of these             10661      0.391      0.994

What is not accepted comes with candidates; the title meant is usually the first of them.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from typing import TYPE_CHECKING

from genrec_edge.catalog import titles
from genrec_edge.catalog.fuzzy import TitleKeys, max_edits, numbers
from genrec_edge.catalog.item_ids import id_forms
from genrec_edge.records import Interaction, Item, Match, Method

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from genrec_edge.catalog.reader import Catalog

MAX_CANDIDATES = 5
_MAX_CHARACTERS = 2_000
_TRAILING_YEAR = re.compile(r"^(?P<title>.*\S)[\s,]+\(?(?P<year>1[89]\d\d|20\d\d)\)?$")
_ARTICLES = ("the", "a", "an")

_NEAR_YEAR_CONFIDENCE = 0.9
"""Catalogs disagree by a year about films that opened at a festival first."""
_OTHER_FORM_CONFIDENCE = 0.95
"""Of an id that is written in another way than the catalog does."""
_NUMBER_CONFIDENCE = 0.9
"""Of a bare number that is an id: whoever wrote it may have meant a title that the catalog does not have."""
_MIN_WORDS = 2
_MIN_COVERAGE = 0.6
"""Share of a title's letters that the words of a text must make up."""


class TitleResolver:
    """Finds the catalog items that texts mean. May be shared between threads.

    The keys of all titles are read when the first text needs the fuzzy step, and again after the catalog changed.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
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

    def resolve(self, text: str, year: int | None = None, *, may_be_id: bool = True) -> Match:
        """Return the item that a text means; any text is allowed. Read-only.

        Where `Match.item` is None, the method is "ambiguous" if several items fit equally, and "none" if none fits
        well enough; `Match.candidates` then holds the nearest items, at most five.

        Args:
            text: a title as people write it, or an id.
            year: of the item, where it is known; it counts more than one in the text.
            may_be_id: whether it may be an id; a text that a model wrote is none.
        """
        query = titles.clean(text[:_MAX_CHARACTERS])
        if not query:
            return Match(text, None, "none", 0.0)
        readings = _readings(query, year)
        rejected: list[Item] = []
        for title, year_meant in readings:
            match = self._by_key(text, title, year_meant)
            if match is not None and match.method != "none":
                return match
            if match is not None:
                rejected += match.candidates
        if may_be_id:
            match = self._by_id(text, _NUMBER_CONFIDENCE if query.isdecimal() else 1.0)
            if match is not None:
                return match
        for step in (self._by_words, self._by_edits):
            for title, year_meant in readings:
                match = step(text, title, year_meant)
                if match is not None:
                    return match
        shortest_title = min(title for title, _ in readings)
        return Match(text, None, "none", 0.0, _candidates(rejected, self._nearest(shortest_title)))

    def _by_id(self, text: str, confidence: float) -> Match | None:
        """Return the match of the first form of an id that the catalog has; None without any."""
        for forms in id_forms(text[:_MAX_CHARACTERS]):
            items = list(self._catalog.by_ids(forms).values())
            if len(items) == 1:
                is_as_written = items[0].id == text.strip()
                return Match(text, items[0], "id", confidence if is_as_written else _OTHER_FORM_CONFIDENCE)
            if items:
                return Match(text, None, "ambiguous", 0.0, _candidates(items))
        return None

    def _by_key(self, text: str, title: str, year: int | None) -> Match | None:
        """Return the match by spelling or key, one without an item if only the year differs; None without either."""
        key = titles.key(title)
        bare = titles.without_article(key)
        variants = dict.fromkeys([key, bare, *(f"{article} {bare}" for article in _ARTICLES)])
        same_but_article = self._catalog.by_keys(variants)
        same_key = [item for item in same_but_article if titles.key(item.title) == key]
        exact = [item for item in same_key if title in (item.title, titles.canonical(item.title))]
        groups: tuple[tuple[list[Item], Method, float], ...] = (
            (exact, "exact", 1.0),
            (same_key, "normalised", 0.98),
            (same_but_article, "normalised", 0.94),
        )
        match = None
        for items, method, confidence in groups:
            if items:
                match = _choose_by_year(text, items, year, method, confidence)
                if match.method != "none":
                    return match
        return match

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
        match = _choose_by_year(text, found, year, "full-text", 0.6 + 0.3 * coverage)
        return match if match.method != "none" else None

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
            return Match(text, None, "ambiguous", 0.0, _candidates(self._catalog.by_keys(equally_near)))
        similarity = 1 - best.n_edits / max(len(key), len(best.key))
        match = _choose_by_year(text, self._catalog.by_keys(meant), year, "fuzzy", 0.9 * similarity)
        return match if match.method != "none" else None

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


def _choose_by_year(text: str, items: Sequence[Item], year: int | None, method: Method, confidence: float) -> Match:
    """Choose among items of the same title by the year; of several of one year the first is taken."""
    if year is not None:
        fitting = [item for item in items if item.year == year]
        if not fitting:
            fitting = [item for item in items if item.year is None or abs(item.year - year) == 1]
            confidence *= _NEAR_YEAR_CONFIDENCE
        if not fitting:
            return Match(text, None, "none", 0.0, _candidates(items))
        items = fitting
    if len({item.year for item in items}) > 1:
        return Match(text, None, "ambiguous", 0.0, _candidates(items))
    return Match(text, items[0], method, round(confidence, 3))


def _candidates(*groups: Iterable[Item]) -> tuple[Item, ...]:
    """Return the first items of these groups, each once."""
    unique = {item.row: item for group in groups for item in group}
    return tuple(unique.values())[:MAX_CANDIDATES]


def _words(title: str) -> list[str]:
    return titles.without_article(titles.key(title)).split()
