"""Spellings of the values of a catalog: plurals, typing errors, and which columns name people, places or languages."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

from genrec_edge.catalog.facts import CREATORS, PERFORMERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Kind = Literal["topic", "theme", "place", "language", "person"]

_PLACES = frozenset({"country", "countries", "nation", "nationality"})
_LANGUAGES = frozenset({"language", "languages"})
_THEMES = frozenset({"keyword", "keywords", "tag", "tags", "theme", "themes"})


def column_kind(column: str, values: Mapping[str, int]) -> Kind:
    """Return what the values of a column name; `values` are the values and how many items have each."""
    if column.casefold() in _PLACES:
        return "place"
    if column.casefold() in _LANGUAGES:
        return "language"
    if column.casefold() in _THEMES:
        return "theme"
    if column.casefold() in PERFORMERS | CREATORS:
        return "person"
    n_with_spaces = sum(" " in value for value in values)
    return "person" if 2 * n_with_spaces > len(values) else "topic"


def spellings(key: str, column: str, kind: Kind) -> Iterator[str]:
    """Yield a key, its plural and singular, and the key without the name of its column ("kurdish language")."""
    yield key
    if kind in {"topic", "theme"}:
        if key.endswith("y"):
            yield f"{key[:-1]}ies"
        elif key.endswith(("s", "x", "ch")):
            yield f"{key}es"
        else:
            yield f"{key}s"
        if key.endswith("ies"):
            yield f"{key[:-3]}y"
        elif key.endswith("s") and not key.endswith("ss"):
            yield key[:-1]
    if key.endswith(f" {column.casefold()}"):
        yield key.removesuffix(f" {column.casefold()}")


def names_by_outer_word(names: Iterable[str]) -> dict[tuple[int, int, str], list[str]]:
    """Map (number of words, position, word) to names with that first or last word; one error leaves one right."""
    found: defaultdict[tuple[int, int, str], list[str]] = defaultdict(list)
    for name in names:
        words = name.split()
        if len(words) in {2, 3}:
            found[len(words), 0, words[0]].append(name)
            found[len(words), len(words) - 1, words[-1]].append(name)
    return dict(found)


def one_edit_away(text: str, choices: Iterable[str]) -> set[str]:
    """Return the choices that are at most one typing error away from a text."""
    from rapidfuzz import process  # noqa: PLC0415 - slow to import, and most sentences need neither
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    return {key for key, *_ in process.extract_iter(text, choices, scorer=OSA.distance, score_cutoff=1)}
