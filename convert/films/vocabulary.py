"""The controlled vocabulary of keywords, read from `keywords.txt`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PATH = Path(__file__).with_name("keywords.txt")
_LINE = re.compile(r"(?P<name>[^:^+]+?)(?: (?P<flags>[\^+]+))?: (?P<words>.+)")
_PLURAL = re.compile(r"(?<=\w)\*")

MARKS = {
    "Dance": "dance",
    "Disaster": "disaster",
    "Erotic": "sex",
    "Film-Noir": "film noir",
    "Found Footage": "found footage",
    "Legal": "courtroom",
    "Martial Arts": "martial arts",
    "Noir": "film noir",
    "Political": "politics",
    "Satire": "satire",
    "Short": "short film",
    "Silent": "silent film",
    "Slasher": "slasher",
    "Spy": "spy",
    "Superhero": "superhero",
    "Supernatural": "supernatural",
    "Teen": "teenagers",
}
"""Kinds of the sources that are no genre here, and the keyword each becomes."""


@dataclass(frozen=True)
class KeywordRule:
    """How a keyword is recognised."""

    pattern: re.Pattern[str]
    in_titles: bool


def read(text: str) -> dict[str, KeywordRule]:
    """Return the keywords of a text like `keywords.txt`, by name.

    >>> read("robot +: robot*|android*")["robot"].pattern.findall("two robots")
    ['robots']
    """
    words = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            if match is None:
                message = f"{_PATH.name} has a line that is no keyword: {line}"
                raise ValueError(message)
            flags = match["flags"] or ""
            parts = _PLURAL.sub("(?:e?s)?", match["words"])
            pattern = re.compile(rf"(?:{parts})(?!\w)", re.IGNORECASE if "^" in flags else 0)
            words[match["name"]] = KeywordRule(pattern, "+" in flags)
    return words


WORDS = read(_PATH.read_text(encoding="utf-8"))
VOCABULARY = frozenset(WORDS) | frozenset(MARKS.values())
