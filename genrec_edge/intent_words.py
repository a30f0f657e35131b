"""English words around facts: what asks for something, what excludes it, how years and nationalities are said."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ASKS_FOR = _words(
    "a an the film films movie movies picture pictures flick flicks show shows title titles item items "
    "from of in by with starring featuring directed made set era years year time times period"
)
"""Words that only join a fact to its sentence."""
FILLERS = ASKS_FOR | _words(
    "and or but i we me us my our you it is are be to for on at that which who one ones some any something anything "
    "want wanted wants would like likes looking look need show please give find see watch good great best nice new old "
    "classic really very maybe perhaps preferably ideally kind sort story stories about"
)
"""Words beside which a fact still stands alone."""
NEGATIONS = _words("no not without except never excluding non")
ROLES: Mapping[str, str] = {"by": "director", "with": "cast", "starring": "cast", "featuring": "cast"}
"""What the word before a name says of the person."""
STRONG = _words("Comedy Drama Horror Thriller Western Musical Documentary Animation Biography Sci-Fi Romance")
"""Genres whose names mean nothing else."""
ADJECTIVES: Mapping[str, tuple[str, ...]] = {
    "romantic": ("Romance",),
    "funny": ("Comedy",),
    "comedic": ("Comedy",),
    "scary": ("Horror",),
    "science fiction": ("Sci-Fi",),
    "scifi": ("Sci-Fi",),
    "animated": ("Animation",),
    "cartoon": ("Animation",),
    "cartoons": ("Animation",),
    "biopic": ("Biography",),
    "biographical": ("Biography",),
    "historical": ("History",),
    "american": ("United States",),
    "usa": ("United States",),
    "british": ("United Kingdom",),
    "uk": ("United Kingdom",),
    "english": ("English",),
    "french": ("French", "France"),
    "german": ("German", "Germany"),
    "italian": ("Italian", "Italy"),
    "spanish": ("Spanish", "Spain"),
    "japanese": ("Japanese", "Japan"),
    "korean": ("Korean", "South Korea"),
    "chinese": ("Mandarin", "Cantonese", "China"),
    "russian": ("Russian", "Russia", "Soviet Union"),
    "indian": ("Hindi", "India"),
    "swedish": ("Swedish", "Sweden"),
    "danish": ("Danish", "Denmark"),
    "norwegian": ("Norwegian", "Norway"),
    "dutch": ("Dutch", "Netherlands"),
    "polish": ("Polish", "Poland"),
    "portuguese": ("Portuguese", "Portugal"),
    "brazilian": ("Brazil",),
    "mexican": ("Mexico",),
    "canadian": ("Canada",),
    "australian": ("Australia",),
    "irish": ("Ireland",),
}
"""What catalogs call in one word and people in another; only those of a catalog's values count that it has."""
_DECADES: Mapping[str, int] = {
    "twenties": 1920,
    "thirties": 1930,
    "forties": 1940,
    "fifties": 1950,
    "sixties": 1960,
    "seventies": 1970,
    "eighties": 1980,
    "nineties": 1990,
}
_FIRST_YEAR, _END_YEAR = 1880, 2100

Years = tuple[int, int | None, int | None]
"""(the word after it, first year or None, last year or None)."""


def plain(word: str) -> str:
    """Return the singular of a plural; anything else is returned as it is.

    >>> plain("comedies"), plain("westerns"), plain("1990s")
    ('comedy', 'western', '1990s')
    """
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and word[:-1].isalpha() else word


def _year(word: str) -> int | None:
    return int(word) if len(word) == 4 and word.isdecimal() and word.isascii() and _is_year(int(word)) else None


def _is_year(year: int) -> bool:
    return _FIRST_YEAR <= year < _END_YEAR


def _decade(word: str) -> int | None:
    if word in _DECADES:
        return _DECADES[word]
    digits = word.removesuffix("s")
    if digits == word or not (digits.isdecimal() and digits.isascii()):
        return None
    if len(digits) == 2 and digits[1] == "0":
        return (1900 if digits >= "30" else 2000) + int(digits)
    return int(digits) if len(digits) == 4 and digits[3] == "0" and _is_year(int(digits)) else None


def _range(keys: Sequence[str], at: int) -> Years | None:
    """Read "from 1990 to 1995", "between 1990 and 1995"."""
    ends = {"from": "to", "between": "and"}
    if at + 3 < len(keys) and keys[at] in ends and keys[at + 2] in {ends[keys[at]], "until", "till"}:
        first, last = _year(keys[at + 1]), _year(keys[at + 3])
        if first is not None and last is not None and first <= last:
            return at + 4, first, last
    return None


def _bound(keys: Sequence[str], at: int) -> Years | None:
    """Read "before 1980", "after 2000", "since 1995", "until 1999"."""
    if at + 1 >= len(keys) or keys[at] not in {"before", "after", "since", "until"}:
        return None
    year = _year(keys[at + 1])
    first, last = year, year
    if year is None:
        first = _decade(keys[at + 1])
        last = None if first is None else first + 9
    if first is None or last is None:
        return None
    bounds = {"before": (None, first - 1), "until": (None, last), "since": (first, None), "after": (last + 1, None)}
    return at + 2, *bounds[keys[at]]


def _single(keys: Sequence[str], at: int) -> Years | None:
    """Read "1994", "1990s", "90s" and "nineties"."""
    first = _decade(keys[at])
    if first is not None:
        return at + 1, first, first + 9
    year = _year(keys[at])
    return None if year is None else (at + 1, year, year)


YEARS: Sequence[Callable[[Sequence[str], int], Years | None]] = (_range, _bound, _single)
"""(keys of the words, where) -> the years that are said there, or None; tried in this order."""
