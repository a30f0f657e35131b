"""Free text to a catalog item: by the first rung of a ladder that holds, or a plain statement that none does.

1. exact: the display spelling.
2. normalised: the same `titles.key`, with or without its leading article.
3. full-text: all words of the text stand in one title only, and make up most of it.
4. fuzzy: one title is a few typing errors away, no other is as near, and every word that differs is unknown
   to the catalog, so that "The King" never becomes "The Ring".

Numbers must be equal on every rung: a sequel is another film. A year in brackets or at the end tells
namesakes apart.

How often that is right, for the films that come with the package after every tenth title was taken out
(`figures` in `tests/test_grounding.py`, seed 7; distorted texts that are another film's title left out):

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
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.catalog import titles
from genrec_edge.records import Interaction, Item, Match, Method

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from genrec_edge.catalog.reader import Catalog

MAX_CANDIDATES = 5
_MAX_CHARACTERS = 2_000
_TRAILING_YEAR = re.compile(r"^(?P<title>.*\S)[\s,]+\(?(?P<year>1[89]\d\d|20\d\d)\)?$")
_NUMBER = re.compile(r"[0-9]+|[ivx]+")
_ARTICLES = ("the", "a", "an")

_NEAR_YEAR_CONFIDENCE = 0.9
"""Catalogs disagree by a year about films that opened at a festival first."""
_MIN_WORDS = 2
_MIN_COVERAGE = 0.6
_MIN_FUZZY_CHARACTERS = 5
_CHARACTERS_PER_EDIT = 4
_CHARACTERS_PER_EDIT_OF_A_WORD = 5
_MAX_EDITS = 3
_LONG_WORD = 7
_MIN_RATIO = 50
"""Of candidates that are only shown, 0..100."""


class TitleResolver:
    """Finds the catalog items that texts mean. May be shared between threads.

    The keys of all titles are read once, when the first text needs the fuzzy rung, and again after the
    catalog changed.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._keys: tuple[str, _Keys] | None = None

    def resolve_interaction(self, interaction: Interaction) -> Match:
        """Return what an interaction means: by its id if it has one that exists, else by its title."""
        if interaction.id is not None:
            item = self._catalog.by_ids([interaction.id]).get(interaction.id)
            if item is not None:
                return Match(interaction.id, item, "id", 1.0)
            if interaction.title is None:
                return Match(interaction.id, None, "none", 0.0)
        return self.resolve(interaction.title or "")

    def resolve(self, text: str) -> Match:
        """Return what a text means; any text is allowed. Read-only.

        `Match.item` is None with the method "ambiguous" when several titles fit equally, and "none" when no
        title fits well enough; `Match.candidates` are the nearest then, at most five.
        """
        query = titles.clean(text[:_MAX_CHARACTERS])
        if not query:
            return Match(text, None, "none", 0.0)
        readings = _readings(query)
        weak: list[Item] = []
        for title, year in readings:
            answer = self._by_key(text, title, year)
            if answer is not None and answer.method != "none":
                return answer
            weak += answer.candidates if answer else ()
        for rung in (self._by_words, self._by_edits):
            for title, year in readings:
                answer = rung(text, title, year)
                if answer is not None:
                    return answer
        return Match(text, None, "none", 0.0, _first(weak, self._nearest(min(title for title, _ in readings))))

    def _by_key(self, text: str, title: str, year: int | None) -> Match | None:
        key = titles.key(title)
        bare = titles.without_article(key)
        variants = dict.fromkeys([key, bare, *(f"{article} {bare}" for article in _ARTICLES)])
        found = self._catalog.by_keys(variants)
        same = [item for item in found if titles.key(item.title) == key]
        exact = [item for item in same if title in (item.title, titles.canonical(item.title))]
        rungs: tuple[tuple[list[Item], Method, float], ...] = (
            (exact, "exact", 1.0),
            (same, "normalised", 0.98),
            (found, "normalised", 0.94),
        )
        answers = [_choose(text, items, year, method, sure) for items, method, sure in rungs if items]
        good = [answer for answer in answers if answer.method != "none"]
        return good[0] if good else answers[-1] if answers else None

    def _by_words(self, text: str, title: str, year: int | None) -> Match | None:
        words = _words(title)
        if len(words) < _MIN_WORDS:
            return None
        found = self._catalog.search(title, MAX_CANDIDATES + 1, prefix=False)
        keys = {titles.without_article(titles.key(item.title)) for item in found}
        if len(keys) != 1 or len(found) > MAX_CANDIDATES:
            return None
        key = keys.pop()
        has = Counter(key.split())
        coverage = sum(map(len, words)) / len(key.replace(" ", ""))
        if Counter(words) - has or coverage < _MIN_COVERAGE or _numbers(words) != _numbers(key.split()):
            return None
        answer = _choose(text, found, year, "full-text", 0.6 + 0.3 * coverage)
        return answer if answer.method != "none" else None

    def _by_edits(self, text: str, title: str, year: int | None) -> Match | None:
        key = titles.key(title)
        keys = self._loaded()
        near = keys.near(key)
        if not near or near[0].edits > _allowed_edits(key) or not keys.is_typing_error(key, near[0].key):
            return None
        best = near[0]
        bare = titles.without_article(best.key)
        equal = [n.key for n in near if n.edits == best.edits]
        meant = [other for other in equal if titles.without_article(other) == bare]
        if len(meant) < len(equal):
            return Match(text, None, "ambiguous", 0.0, _first(self._catalog.by_keys(equal)))
        similarity = 1 - best.edits / max(len(key), len(best.key))
        answer = _choose(text, self._catalog.by_keys(meant), year, "fuzzy", 0.9 * similarity)
        return answer if answer.method != "none" else None

    def _nearest(self, title: str) -> list[Item]:
        """Return what the user may have meant, likeliest first, without a promise."""
        keys = self._loaded().similar(titles.key(title))
        similar = sorted(self._catalog.by_keys(keys), key=lambda item: keys.index(titles.key(item.title)))
        return [*self._catalog.search(title, MAX_CANDIDATES), *similar]

    def _loaded(self) -> _Keys:
        with self._lock:
            revision = self._catalog.revision
            if self._keys is None or self._keys[0] != revision:
                self._keys = (revision, _Keys(key for _, key, _ in self._catalog.title_keys()))
            return self._keys[1]


@dataclass(frozen=True, slots=True)
class _Near:
    key: str
    edits: int


class _Keys:
    """All keys of a catalog, and the words they are made of."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = list(dict.fromkeys(keys))
        self.bare = [titles.without_article(key) for key in self.keys]
        self.words = frozenset(word for key in self.keys for word in key.split())

    def near(self, key: str) -> list[_Near]:
        """Return the keys within reach of a few edits, nearest first; a leading article may be left out."""
        from rapidfuzz import process  # noqa: PLC0415 - loaded with the first text that needs it
        from rapidfuzz.distance import OSA  # noqa: PLC0415

        found: dict[str, int] = {}
        for query, choices in ((key, self.keys), (titles.without_article(key), self.bare)):
            for _, edits, i in process.extract(
                query, choices, scorer=OSA.distance, score_cutoff=_MAX_EDITS, limit=MAX_CANDIDATES
            ):
                found[self.keys[i]] = min(int(edits), found.get(self.keys[i], _MAX_EDITS))
        return sorted((_Near(key, edits) for key, edits in found.items()), key=lambda n: n.edits)

    def similar(self, key: str) -> list[str]:
        """Return a few keys that look like this one, best first."""
        from rapidfuzz import fuzz, process  # noqa: PLC0415

        found = process.extract(
            titles.without_article(key),
            self.bare,
            scorer=fuzz.ratio,
            score_cutoff=_MIN_RATIO,
            limit=MAX_CANDIDATES,
        )
        return [self.keys[i] for _, _, i in found]

    def is_typing_error(self, written: str, meant: str) -> bool:
        """Whether `written` can be a slip of the hand for `meant`, and is not a title of its own."""
        words, target = written.split(), meant.split()
        changed = Counter(words) - Counter(target)
        if not changed or any(word in self.words and len(word) > 1 for word in changed):
            return False
        if any(_other_number(word) & set(target) for word in changed) or _numbers(words) != _numbers(target):
            return False
        bare, bare_target = titles.without_article(written), titles.without_article(meant)
        if " " not in bare and bare[0] != bare_target[0]:
            return False
        if len(words) != len(target):
            return bare.replace(" ", "") == bare_target.replace(" ", "")  # a space too many, too few or astray
        return all(map(_is_slip, words, target))


def _readings(query: str) -> list[tuple[str, int | None]]:
    """Return the (title, year) that a text can mean, likeliest first."""
    bracketed, year = titles.split_year(query)
    if year is not None:
        return [(bracketed, year), (query, None)]
    match = _TRAILING_YEAR.match(query)
    return [(query, None), (match["title"], int(match["year"]))] if match else [(query, None)]


def _choose(text: str, items: Sequence[Item], year: int | None, method: Method, confidence: float) -> Match:
    """Choose among namesakes by the year; those of one year are one title to a reader: the first is taken."""
    if year is not None:
        known = [item for item in items if item.year == year]
        if not known:
            known = [item for item in items if item.year is None or abs(item.year - year) == 1]
            confidence *= _NEAR_YEAR_CONFIDENCE
        if not known:
            return Match(text, None, "none", 0.0, _first(items))
        items = known
    if len({item.year for item in items}) > 1:
        return Match(text, None, "ambiguous", 0.0, _first(items))
    return Match(text, items[0], method, round(confidence, 3))


def _first(*groups: Iterable[Item]) -> tuple[Item, ...]:
    unique = {item.row: item for group in groups for item in group}
    return tuple(unique.values())[:MAX_CANDIDATES]


def _words(title: str) -> list[str]:
    return titles.without_article(titles.key(title)).split()


def _is_slip(written: str, meant: str) -> bool:
    """Whether two words differ by one typing error, or two if they are long."""
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    n_characters = max(len(written), len(meant))
    return OSA.distance(written, meant) <= (1 if n_characters < _LONG_WORD else 2)


def _other_number(word: str) -> set[str]:
    """Return the plural and singular of a word: "Predators" is another film than "Predator", not a slip."""
    return {f"{word}s", word.removesuffix("s")} - {word}


def _numbers(words: Iterable[str]) -> list[str]:
    return sorted(word for word in words if _NUMBER.fullmatch(word) or word[0].isdigit())


def _allowed_edits(key: str) -> int:
    """Return how many typing errors a text may have; a word alone is more easily another title."""
    bare = titles.without_article(key)
    if len(bare) < _MIN_FUZZY_CHARACTERS:
        return 0
    per_edit = _CHARACTERS_PER_EDIT if " " in bare else _CHARACTERS_PER_EDIT_OF_A_WORD
    return min(_MAX_EDITS, max(1, len(bare) // per_edit))
