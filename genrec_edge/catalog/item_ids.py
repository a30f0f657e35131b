"""The ways in which people and programs write the id of an item. Knows nothing of catalogs."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"(?P<whole>-?[0-9]+)\.0+")
_NAMED = re.compile(r"(?:id|item|imdb|imdb[ _]?id|tconst)\s*[:=#]\s*(?P<id>\S+)", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_IMDB = re.compile(r"(?<![A-Za-z0-9])tt[0-9]{5,10}(?![A-Za-z0-9])", re.IGNORECASE)
"""Unmistakable wherever they stand, as in "The Matrix (1999) {imdb-tt0133093}"."""


def plain_id(text: str) -> str:
    """Return an id without the decimals that programs add to whole numbers.

    >>> plain_id(" 7.0 "), plain_id("7"), plain_id("1.10")
    ('7', '7', '1.10')
    """
    text = text.strip()
    match = _WHOLE.fullmatch(text)
    return match["whole"] if match else text


def id_forms(text: str) -> list[list[str]]:
    """Return the ids that a text can mean, in groups: the first group that an item has is meant.

    As it is written; without decimals; after its kind (imdb: tt0133093); the parts of a web address, the last first;
    an IMDb id in other text; then the same in lower and upper case.

    >>> id_forms("https://www.imdb.com/title/TT0133093/")[:2]
    [['https://www.imdb.com/title/TT0133093/'], ['TT0133093']]
    """
    text = text.strip()
    written = [text, plain_id(text)]
    if named := _NAMED.fullmatch(text):
        written.append(named["id"])
    if _ADDRESS.fullmatch(text):
        path = re.split("[?#]", text)[0].partition("//")[2] or text
        written += [part for part in reversed(path.split("/")[1:]) if part]
    groups = [[form] for form in dict.fromkeys(written)]
    if found := _IMDB.findall(text):
        groups.append(list(dict.fromkeys(found)))
    known = {form for group in groups for form in group}
    for group in list(groups):
        folded = {form.lower() for form in group} | {form.upper() for form in group}
        if other := sorted(folded - known):
            groups.append(other)
    return groups
