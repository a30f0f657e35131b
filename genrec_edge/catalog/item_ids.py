"""The ways in which people and programs write the id of an item. Knows nothing of catalogs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from genrec_edge.catalog.titles import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_WHOLE = re.compile(r"(?P<whole>-?[0-9]+)\.0+")
_NAMED = re.compile(r"(?:id|item|imdb|imdb[ _]?id|tconst|wikidata|qid)\s*[:=#]\s*(?P<id>\S+)", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_IMDB = re.compile(r"(?<![A-Za-z0-9])tt[0-9]{5,10}(?![A-Za-z0-9])", re.IGNORECASE)
"""Unmistakable wherever they stand, as in "The Matrix (1999) {imdb-tt0133093}"."""

_MAX_SHOWN = 40


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
    an IMDb id in other text; then the same without characters that nobody sees, in lower and upper case.

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
    if (seen := visible(text).strip()) not in known and seen:
        groups.append([seen])
        known.add(seen)
    for group in list(groups):
        folded = {form.lower() for form in group} | {form.upper() for form in group}
        if other := sorted(folded - known):
            groups.append(other)
    return groups


class HiddenIds:
    """Counts the ids that hold characters nobody sees, and finds those that only such characters tell apart."""

    def __init__(self) -> None:
        self._n = 0
        self._first = ""

    def see(self, item_id: str, where: str) -> None:
        """Take in an id, and where it stands."""
        if not item_id.isprintable() and visible(item_id) != item_id:
            self._n += 1
            self._first = self._first or f"{item_id[:_MAX_SHOWN]!r}{where}"

    def notes(self, all_ids: Callable[[], Iterable[str]]) -> list[str]:
        """Return what should be said, nothing without such ids.

        Args:
            all_ids: returns every id that there is; called only if one of those taken in holds such a character.
        """
        if not self._n:
            return []
        hold = "1 id holds" if self._n == 1 else f"{self._n:,} ids hold"
        notes = [f"{hold} invisible characters, which are kept, the first {self._first}"]
        forms = {form for item_id in all_ids() if (form := visible(item_id)) != item_id}
        alike: dict[str, list[str]] = {}
        for item_id in all_ids():
            if (form := visible(item_id)) in forms:
                alike.setdefault(form, []).append(item_id)
        doubled = [ids for ids in alike.values() if len(ids) > 1]
        if doubled:
            first, second = (repr(item_id[:_MAX_SHOWN]) for item_id in doubled[0][:2])
            more = f", and {len(doubled) - 1:,} more" if len(doubled) > 1 else ""
            notes.append(f"only invisible characters tell {first} and {second} apart{more}")
        return notes
