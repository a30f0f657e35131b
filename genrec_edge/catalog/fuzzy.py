"""Titles with typing errors: which keys are a few edits away, and whether the difference can be a typing error.

Knows keys of titles (`titles.key`) alone; what is accepted is decided by `resolver.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.catalog.titles import without_article

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_EDITS = 3
_MIN_CHARACTERS = 5
"""Shorter keys have to be right."""
_CHARACTERS_PER_EDIT = 4
_CHARACTERS_PER_EDIT_OF_A_WORD = 5
_LONG_WORD_CHARACTERS = 7
"""From this length on, a word may have two typing errors."""
_MIN_RATIO = 50
"""Of keys that are only shown, 0..100."""
_NUMBER = re.compile(r"[0-9]+|[ivx]+")


@dataclass(frozen=True, slots=True)
class NearKey:
    """A key, and how many edits it is away from another one."""

    key: str
    n_edits: int


class TitleKeys:
    """All keys of a catalog, and the words they are made of."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = list(dict.fromkeys(keys))
        self._bare_keys = [without_article(key) for key in self._keys]
        self._words = frozenset(word for key in self._keys for word in key.split())

    def near(self, key: str, limit: int) -> list[NearKey]:
        """Return the keys within three edits, nearest first; a leading article may be left out.

        At most `limit` of them with the article, and as many without.
        """
        from rapidfuzz import process  # noqa: PLC0415 - loaded with the first text that needs it
        from rapidfuzz.distance import OSA  # noqa: PLC0415

        n_edits_of: dict[str, int] = {}
        for query, choices in ((key, self._keys), (without_article(key), self._bare_keys)):
            found = process.extract(query, choices, scorer=OSA.distance, score_cutoff=_MAX_EDITS, limit=limit)
            for _, n_edits, i in found:
                near_key = self._keys[i]
                n_edits_of[near_key] = min(int(n_edits), n_edits_of.get(near_key, _MAX_EDITS))
        return sorted((NearKey(near, n) for near, n in n_edits_of.items()), key=lambda near: near.n_edits)

    def similar(self, key: str, limit: int) -> list[str]:
        """Return at most `limit` keys that look like this one, best first."""
        from rapidfuzz import fuzz, process  # noqa: PLC0415

        found = process.extract(
            without_article(key), self._bare_keys, scorer=fuzz.ratio, score_cutoff=_MIN_RATIO, limit=limit
        )
        return [self._keys[i] for _, _, i in found]

    def is_typing_error(self, written: str, meant: str) -> bool:
        """Whether the key `written` can be a mistyped `meant`, and not the key of another title.

        Every word that differs has to be unknown to the catalog and neither plural nor singular of a word that is
        meant; numbers have to be equal.
        """
        words, target = written.split(), meant.split()
        changed = Counter(words) - Counter(target)
        if not changed or any(word in self._words and len(word) > 1 for word in changed):
            return False
        if any(_plural_and_singular(word) & set(target) for word in changed) or numbers(words) != numbers(target):
            return False
        bare, bare_target = without_article(written), without_article(meant)
        if " " not in bare and bare[0] != bare_target[0]:
            return False
        if len(words) != len(target):
            return bare.replace(" ", "") == bare_target.replace(" ", "")  # a space too many, too few or misplaced
        return all(map(_is_mistyped_word, words, target))


def max_edits(key: str) -> int:
    """Return how many typing errors a key may have; a single word is more easily another title.

    >>> [max_edits(key) for key in ("heat", "vertigo", "the toy story", "the fellowship of the ring")]
    [0, 1, 2, 3]
    """
    bare = without_article(key)
    if len(bare) < _MIN_CHARACTERS:
        return 0
    per_edit = _CHARACTERS_PER_EDIT if " " in bare else _CHARACTERS_PER_EDIT_OF_A_WORD
    return min(_MAX_EDITS, max(1, len(bare) // per_edit))


def numbers(words: Sequence[str]) -> list[str]:
    """Return those of the words that number a title, sorted: a sequel is another film.

    >>> numbers("rocky iv 4k 1985".split())
    ['1985', '4k', 'iv']
    """
    return sorted(word for word in words if _NUMBER.fullmatch(word) or word[0].isdigit())


def _is_mistyped_word(written: str, meant: str) -> bool:
    """Whether two words differ by at most one typing error, or two if they are long."""
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    is_long = max(len(written), len(meant)) >= _LONG_WORD_CHARACTERS
    return OSA.distance(written, meant) <= (2 if is_long else 1)


def _plural_and_singular(word: str) -> set[str]:
    """Return the other number of a word: "Predators" is another film than "Predator", not a typing error."""
    return {f"{word}s", word.removesuffix("s")} - {word}
