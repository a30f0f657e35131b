"""A few telling words for every film, out of a controlled vocabulary.

They are found in the lead of an article, in the title, among a source's kinds, or were given by hand. At most `MOST`
are kept: by hand first, then the rarest, which tell most. No sentence of a lead is kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from genrec_edge.convert.films.vocabulary import MARKS, VOCABULARY, WORDS

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence

    from genrec_edge.convert.films.film import Film

MOST = 5


def keywords(films: Sequence[Film]) -> list[list[str]]:
    """Return the keywords of each film, most telling first."""
    words = [set(VOCABULARY.intersection(film.words)) for film in films]
    for film, found in zip(films, words, strict=True):
        found.update(MARKS[mark] for mark in film.marks if mark in MARKS)
    leads = _Texts([film.lead.replace(film.title, "") for film in films])
    headings = _Texts([film.title.lower() for film in films])
    for name, word in WORDS.items():
        for texts in (leads, headings) if word.in_titles else (leads,):
            for row in texts.rows(word.pattern):
                words[row].add(name)
    counts = Counter(word for found in words for word in found)
    return [
        sorted(found, key=lambda word: (word not in film.words, counts[word], word))[:MOST]
        for film, found in zip(films, words, strict=True)
    ]


class _Texts:
    """Many texts, searched as one: a search of each alone for each word takes three times as long."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._text = "\n".join(text.replace("\n", " ") for text in texts)
        self._starts = [0, *accumulate(len(text) + 1 for text in texts)]

    def rows(self, pattern: re.Pattern[str]) -> Iterator[int]:
        """Yield the texts in which a pattern is found at the beginning of a word."""
        for match in pattern.finditer(self._text):
            before = self._text[match.start() - 1 : match.start()]
            if not before.isalnum() and before not in {"'", "_"}:
                yield bisect_right(self._starts, match.start()) - 1
