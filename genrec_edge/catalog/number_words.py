"""Numbers as titles write them: in words, as Roman numerals, after "part"; all become digits.

A number is never dropped: a sequel is another title. Knows words of `titles.key`; nothing of catalogs.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SMALL = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
    """.split()  # noqa: SIM905 - a list would have a line for each
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_BELOW_HUNDRED = {word: n for n, word in enumerate(_SMALL)} | {word: 10 * n for n, word in enumerate(_TENS, start=2)}
_HUNDRED, _THOUSAND, _AND = "hundred", "thousand", "and"

_NTH = """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
    sixteenth seventeenth eighteenth nineteenth twentieth
    """.split()  # noqa: SIM905
_ORDINALS = {word: f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n, 'th') }" for n, word in enumerate(_NTH, start=1)}
_TO_NINE = ["", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"]
_ROMAN = {f"{ten}{one}": n for n, (ten, one) in enumerate(product(["", "x"], _TO_NINE)) if len(ten + one) > 1}
_ONE_LETTER = {"i": 1, "v": 5, "x": 10}
"""Numerals only where they end a title or follow a word of `PARTS`: "V for Vendetta" and "X-Men" have letters."""
PARTS = frozenset({"part", "pt", "volume", "vol", "chapter", "episode", "ep"})
"""Words that do not count before a number."""
FOLDED = _BELOW_HUNDRED.keys() | _ORDINALS.keys() | _ROMAN.keys() | _ONE_LETTER.keys() | PARTS
"""The words that `with_digits` may change."""


def with_digits(words: Sequence[str]) -> list[str]:
    """Return the words of a key with all numbers as digits, and without the words that only announce them.

    >>> " ".join(with_digits("the godfather part ii".split()))
    'the godfather 2'
    >>> " ".join(with_digits("one hundred and one dalmatians".split()))
    '101 dalmatians'
    >>> " ".join(with_digits("the fifty first part of rocky v".split()))
    'the 50 1st part of rocky 5'
    """
    found: list[str] = []
    at = 0
    while at < len(words):
        number, n_words = _number_at(words, at)
        if number is None:
            found.append(_ORDINALS.get(words[at], words[at]))
        else:
            if len(found) > 1 and found[-1] in PARTS:  # "Chapter 27" is not 27
                found.pop()
            found.append(number)
        at += n_words
    return found


def _number_at(words: Sequence[str], at: int) -> tuple[str | None, int]:
    """Return the number that begins at a word, and of how many words it is; None and 1 without one."""
    word = words[at]
    if word.isdecimal():
        return word, 1
    if word in _ROMAN:
        return str(_ROMAN[word]), 1
    if word in _ONE_LETTER and at > 0 and (at == len(words) - 1 or words[at - 1] in PARTS):
        return str(_ONE_LETTER[word]), 1
    return _in_words_at(words, at)


def _in_words_at(words: Sequence[str], at: int) -> tuple[str | None, int]:
    """Return a number that is written in words, as `_number_at` does: twenty one, four hundred, one hundred and one."""
    if words[at] not in _BELOW_HUNDRED:
        return None, 1
    thousands = rest = 0
    room = 1000
    """What is added next has to be below: after "twenty" only "one" to "nine"."""
    end = at
    while end < len(words):
        word = words[end]
        if word in _BELOW_HUNDRED and _BELOW_HUNDRED[word] < room:
            value = _BELOW_HUNDRED[word]
            rest += value
            room = 10 if value >= 20 else 0
        elif word == _HUNDRED and 0 < rest < 20:
            rest, room = 100 * rest, 100
        elif word == _THOUSAND and rest and not thousands:
            thousands, rest, room = rest, 0, 1000
        elif not (word == _AND and words[end - 1] in {_HUNDRED, _THOUSAND} and _begins_number(words, end + 1)):
            break
        end += 1
    return str(1000 * thousands + rest), end - at


def _begins_number(words: Sequence[str], at: int) -> bool:
    return at < len(words) and words[at] in _BELOW_HUNDRED
