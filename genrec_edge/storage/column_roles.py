"""Which columns are the title, the id and the year: those that are named, else those with a usual name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from genrec_edge.storage.table_source import TableSource

_TITLES = (
    "title",
    "movietitle",
    "primarytitle",
    "booktitle",
    "trackname",
    "productname",
    "producttitle",
    "name",
)
_IDS = (
    "id",
    "itemid",
    "movieid",
    "imdbid",
    "tconst",
    "bookid",
    "isbn",
    "asin",
    "parentasin",
    "trackid",
    "productid",
    "sku",
)
_YEARS = (
    "year",
    "releaseyear",
    "startyear",
    "yearofpublication",
    "publicationyear",
    "originalpublicationyear",
)


@dataclass(frozen=True, slots=True)
class Roles:
    """Positions of the title, id and year columns; None if the source has no such column."""

    title: int
    id: int | None
    year: int | None

    def of(self, position: int) -> str:
        """Return the role of a column: "title", "id", "year", or ""."""
        return {self.title: "title", self.id: "id", self.year: "year"}.get(position, "")


def choose_roles(
    names: Sequence[str],
    *,
    title: str | None,
    id: str | None,  # noqa: A002
    year: str | None,
) -> Roles:
    """Return the title, id and year columns: those the caller names, else those with a usual name.

    Raises:
        UsageError: a named column does not exist, or no column has a usual name of a title.
    """
    simple = [simple_name(name) for name in names]

    def guess(usual: tuple[str, ...]) -> int | None:
        return next((simple.index(name) for name in usual if name in simple), None)

    title_at = guess(_TITLES) if title is None else column_position(names, title)
    if title_at is None:
        message = f"no column looks like a title; the columns are: {', '.join(names)}"
        raise UsageError(message, hint="name it with `title`")
    return Roles(
        title=title_at,
        id=guess(_IDS) if id is None else column_position(names, id),
        year=guess(_YEARS) if year is None else column_position(names, year),
    )


def require_header(source: TableSource, usual: Sequence[str] = (*_TITLES, *_IDS, *_YEARS)) -> None:
    """Refuse a file whose first row is data already: it has a number, and none of the usual names.

    Raises:
        UsageError: the first row is no header.
    """
    if source.has_number_in_header and not {simple_name(name) for name in source.columns} & set(usual):
        shown = ", ".join(repr(name) for name in source.columns[:4])
        message = f"{source.path} begins with data, not with names of columns: {shown}"
        raise UsageError(message, hint="name its columns with `columns`, such as id,title,genres")


def has_title(names: Iterable[str]) -> bool:
    """Whether one of the names is a usual one of titles alone; genres and people have a "name", too."""
    return any(simple_name(name) in _TITLES[:-1] for name in names)


def simple_name(name: str) -> str:
    """Return a name in lower case and without punctuation, to compare it with usual names."""
    return "".join(c for c in name.casefold() if c.isalnum())


def column_position(names: Sequence[str], name: str) -> int:
    """Return the position of a column; case does not count.

    Raises:
        UsageError: there is no such column; the message lists those that exist.
    """
    folded = [n.casefold() for n in names]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean {names[folded.index(near[0])]!r}?" if near else ""
    message = f"no column {name!r}; the columns are: {', '.join(names)}"
    raise UsageError(message, hint=hint)
