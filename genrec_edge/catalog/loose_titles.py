"""A looser key than `titles.key`, and the names that a title goes by: what people type for it.

Equal loose keys are the same title to a reader: "Rocky 2" and "Rocky II", "Kill Bill 2" and "Kill Bill: Volume 2",
"Alien³" and "Alien 3", "Spiderman" and "Spider-Man". Numbers stay: a sequel is another title. Knows texts; nothing of
catalogs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from genrec_edge.catalog import titles
from genrec_edge.catalog.number_words import FOLDED, PARTS, with_digits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TITLE, ALIAS, PART, SEQUEL = range(4)
"""How a name names an item: it is the whole title, another title, a part of the title, or the part that leaves out
which sequel it is."""

_ARTICLES = frozenset({"the", "a", "an"})
_SAME = {
    "colour": "color",
    "dr": "doctor",
    "favourite": "favorite",
    "grey": "gray",
    "mr": "mister",
    "mrs": "missus",
    "neighbour": "neighbor",
    "neighbours": "neighbors",
    "st": "saint",
    "theatre": "theater",
    "vs": "versus",
}
"""Words that are written in two ways."""
_CHANGED = FOLDED | _ARTICLES | _SAME.keys()
_SMALL_DIGIT = re.compile(r"(?<=[^\W\d_])(?=[²³¹⁰⁴-⁹])|(?<=\w)(?=[¼-¾⅐-⅞])")
"""Where a superscript follows a letter, or a fraction anything: "Alien³" is "Alien 3", and "8½" is "8 1/2"."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBERS_MEET = re.compile(r"\d \d").search
_NOT_BETWEEN_NUMBERS = re.compile(r"(?<!\d) | (?!\d)")
_SEPARATOR = re.compile(
    r"""\s*[:;]\s+ | \s+(?:[\u2013\u2014-]|::?)\s+  # Alien: Covenant; Mission: Impossible - Fallout
    | ,?\sor,?\s(?=\() | [,:;]\s?or[,:]?\s | \sor[,:]\s  # Dr. Strangelove or: How I Learned to ...
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SECOND_TITLE = re.compile(r",?\sor,?\s(?=\()|[,:;]\s?or[,:]?\s|\sor[,:]\s", re.IGNORECASE)
_MAY_HAVE_PARTS = re.compile(r"[:;)\u2013\u2014]|\s-|\sor\b", re.IGNORECASE).search
_BRACKETS = re.compile(r"^(?P<title>.*\S)\s*\((?P<other>[^()]*)\)$")


class Name(NamedTuple):
    """What an item may be called: a loose key, and how it names the item."""

    key: str
    kind: int


def loose_key(title: str) -> str:
    """Return the key under which the spellings that people type for a title are equal.

    >>> loose_key("The Godfather: Part II"), loose_key("8½")
    ('godfather2', '8 1 2')
    """
    return loose_keys(title)[0]


def loose_keys(title: str) -> list[str]:
    """Return the loose key of a title, and the one that its `titles.key` has where signs were read as words.

    >>> loose_keys("Romeo + Juliet")
    ['romeoandjuliet', 'romeojuliet']
    """
    plain = _joined(titles.key(title))
    if title.isascii() and "+" not in title and "," not in title:
        return [plain]
    read = _THOUSANDS.sub("", _SMALL_DIGIT.sub(" ", title)).replace("+", " and ")
    return [plain] if read == title else list(dict.fromkeys([_joined(titles.key(read)), plain]))


def names(title: str) -> set[Name]:
    """Return what an item of this title may be called.

    >>> sorted(names("Star Wars: Episode V - The Empire Strikes Back"))[:2]
    [Name(key='empirestrikesback', kind=2), Name(key='episode5empirestrikesback', kind=2)]
    """
    found = {Name(key, TITLE) for key in loose_keys(title)}
    if not _MAY_HAVE_PARTS(title):
        return found
    title = titles.canonical(title)
    if match := _BRACKETS.match(title):
        found.add(Name(loose_key(match["title"]), TITLE))
        if _is_title(match["other"]):
            found.add(Name(loose_key(match["other"]), ALIAS))
    if len(parts := _SEPARATOR.split(title)) > 1:
        found |= set(_of_parts(parts))
    return {name for name in found if name.key}


def typed_keys(text: str) -> list[str]:
    """Return the loose keys that a text may name an item by: as it stands, then without brackets or a second title.

    What is left out has no number: a sequel is another title.

    >>> typed_keys("Léon (The Professional)"), typed_keys("Toy Story (2)")
    (['leonprofessional', 'leon', 'professional'], ['toystory2'])
    """
    text = titles.canonical(text)
    spellings = [text]
    if (match := _BRACKETS.match(text)) and _has_no_number(match["other"]):
        spellings += [match["title"], match["other"]] if _is_title(match["other"]) else [match["title"]]
    head, *rest = _SECOND_TITLE.split(text, maxsplit=1)
    if rest and _has_no_number(rest[0]):
        spellings.append(head)
    return [key for key in dict.fromkeys(key for spelling in spellings for key in loose_keys(spelling)) if key]


def numbers_announced(text: str) -> bool:
    """Whether a part of a title says which sequel it is: "Part II", "Episode V", "2"; "Part One" does not."""
    words = _numbered(text)
    return any(word.isdecimal() and word != "1" for word in (*words[:1], *words[-1:]))


def _of_parts(parts: Sequence[str]) -> Iterator[Name]:
    """Yield the names that leave out parts of a title: its end, its beginning, or the number between them."""
    for i in range(1, len(parts)):
        head, tail = " ".join(parts[:i]), " ".join(parts[i:])
        yield Name(loose_key(head), SEQUEL if numbers_announced(tail) else PART)
        if not all(map(str.isdecimal, _numbered(tail))):  # "Part 2" alone names nothing
            yield Name(loose_key(tail), PART)
        if i < len(parts) - 1 and numbers_announced(parts[i]):
            yield Name(loose_key(" ".join([*parts[:i], *parts[i + 1 :]])), TITLE)


def _is_title(text: str) -> bool:
    """Whether what stands in brackets is another title, and not a word such as "film"."""
    return " " in text.strip()


def _joined(key: str) -> str:
    """Return a key in one form, its words without spaces between them, unless these are numbers."""
    words = key.split()
    if not _CHANGED.isdisjoint(words):
        words = _in_one_form(words) or words
    joined = " ".join(words)
    return _NOT_BETWEEN_NUMBERS.sub("", joined) if _NUMBERS_MEET(joined) else joined.replace(" ", "")


def _has_no_number(text: str) -> bool:
    return not any(character.isdigit() for word in _numbered(text) for character in word)


def _numbered(text: str) -> list[str]:
    """Return the words of a text after some title, with digits: "part" does not count before a number."""
    return with_digits(["", *titles.key(text).split()])[1:]


def _in_one_form(words: Sequence[str]) -> list[str]:
    """Return words with one spelling for each number and each word of `_SAME`, without articles."""
    kept = []
    for i, word in enumerate(words):
        before, after = words[i - 1 : i], words[i + 1 : i + 2]
        if word == "a" and any(len(neighbour) == 1 for neighbour in (*before, *after)):
            kept.append(word)  # A.I., L.A. Confidential
        elif word == "v" and before and after and not PARTS.intersection(before):
            kept.append("versus")
        elif word not in _ARTICLES or not after:  # Easy A
            kept.append(_SAME.get(word, word))
    return with_digits(kept)
