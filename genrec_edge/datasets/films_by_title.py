"""Finds films by title and year, as people and catalogs write them.

A film has the same title, by its key, and the same year, or a year that differs by one if it is the only such film:
catalogs disagree about films that were shown at a festival first.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from genrec_edge.catalog.titles import key

if TYPE_CHECKING:
    from collections.abc import Iterable


class Titled(Protocol):
    """What has a title and maybe a year."""

    @property
    def title(self) -> str:
        """As written, without its year."""
        ...

    @property
    def year(self) -> int | None:
        """Of its release, None if it is not known."""
        ...


Film = TypeVar("Film", bound=Titled)


class FilmsByTitle(Generic[Film]):
    """Films, found by title and year."""

    def __init__(self, films: Iterable[Film]) -> None:
        self._by_key: defaultdict[str, list[Film]] = defaultdict(list)
        for film in films:
            self._by_key[key(film.title)].append(film)

    def find(self, title: str, year: int | None) -> Film | None:
        """Return the film with a title and a year, None if there is none or several; without a year, one without."""
        films = self._by_key.get(key(title), [])
        same = [film for film in films if film.year == year]
        if not same and year is not None:
            same = [film for film in films if film.year is not None and abs(film.year - year) <= 1]
        return same[0] if len(same) == 1 else None
