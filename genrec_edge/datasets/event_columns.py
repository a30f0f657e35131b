"""Which columns of a table are the user, the item, the timestamp and the rating of events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError
from genrec_edge.storage.column_roles import simple_name
from genrec_edge.storage.delimited_table import DelimitedTable
from genrec_edge.storage.tables import open_source
from genrec_edge.storage.times import moment_of
from genrec_edge.storage.xlsx_table import XlsxTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.storage.tables import TableSource

_COLUMN_NAMES = {
    "user": ("user", "userid", "uid", "reviewerid", "visitorid", "customerid", "username", "memberid"),
    "item": ("item", "itemid", "movieid", "bookid", "productid", "trackid", "asin", "parentasin", "isbn", "sku"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "datetime", "date", "watchedat", "createdat", "ts"),
    "rating": ("rating", "overall", "stars", "score"),
}
"""Usual names of the columns, the likeliest first, in lower case and without punctuation."""


@dataclass(frozen=True, slots=True)
class EventColumns:
    """The positions of the cells in a row; `rating` is None where the file has no such column."""

    user: int
    item: int
    timestamp: int
    rating: int | None

    @property
    def width(self) -> int:
        """How many cells a row needs."""
        return max(self.user, self.item, self.timestamp, -1 if self.rating is None else self.rating) + 1

    def not_used(self, names: list[str]) -> list[str]:
        """Return the columns of a table that are none of these."""
        used = {self.user, self.item, self.timestamp, self.rating}
        return [name for position, name in enumerate(names) if position not in used]


def open_events(path: Path, named: Mapping[str, str | None]) -> tuple[TableSource, EventColumns]:
    """Open a table of events and find its columns: those in `named`, else the first usual name present.

    A file whose first row is data already, with numbers or dates and no usual name, has no header: its columns are
    named by their numbers, from 1. A JSON source is read once for this.

    Args:
        path: the file.
        named: columns by "user", "item", "timestamp" and "rating"; case does not count.

    Raises:
        UsageError: a named column does not exist, or no column looks like the user, the item or the timestamp; the
            message lists all of them.
    """
    try:
        source = open_source(path)
    except UsageError as e:
        hint = "give the events as a file with one table" if "`table`" in e.hint else e.hint
        raise UsageError(e.message, hint=hint) from e
    if not source.columns:
        deque(source.rows(), maxlen=0)
    if _begins_with_data(source, named):
        names = [str(number) for number in range(1, len(source.columns) + 1)]
        source = open_source(path, columns=names)
        found, missing = _find(source.columns, named)
        if missing:
            _, first = next(source.rows())
            message = f"{path} begins with data, not with names of columns: {', '.join(map(str, first))}"
            arguments = ", ".join(f"`{role}`" for role in missing)
            raise UsageError(message, hint=f"name its columns by their numbers, 1 to {len(names)}, with {arguments}")
    else:
        found, missing = _find(source.columns, named)
    if missing:
        message = f"{source.path}: {', '.join(missing.values())}; the columns are: {', '.join(source.columns)}"
        arguments = ", ".join(f"`{role}`" for role in missing)
        raise UsageError(message, hint=f"name the column with {arguments}")
    return source, EventColumns(found["user"], found["item"], found["timestamp"], found.get("rating"))


def _begins_with_data(source: TableSource, named: Mapping[str, str | None]) -> bool:
    """Whether the first row of a text is data: it has a number or a date, and no name that is usual or was given."""
    is_data = source.has_number_in_header or any(moment_of(name) is not None for name in source.columns)
    if not is_data or not _has_header_row(source):
        return False
    usual = {word for words in _COLUMN_NAMES.values() for word in words}
    given = {name.casefold() for name in named.values() if name is not None and not name.isdecimal()}
    return not any(simple_name(name) in usual or name.casefold() in given for name in source.columns)


def _has_header_row(source: TableSource) -> bool:
    """Whether a source reads its names from its first row."""
    return isinstance(source, DelimitedTable | XlsxTable)


def _find(columns: list[str], named: Mapping[str, str | None]) -> tuple[dict[str, int], dict[str, str]]:
    """Return the position of the column of each role, and what is wrong with those that have none."""
    names = [name.casefold() for name in columns]
    simple = [simple_name(name) for name in columns]
    found: dict[str, int] = {}
    missing: dict[str, str] = {}
    for role, usual in _COLUMN_NAMES.items():
        name = named.get(role)
        if name is not None:
            if name.casefold() in names:
                found[role] = names.index(name.casefold())
            else:
                missing[role] = f"no column {name!r}"
            continue
        present = [simple.index(word) for word in usual if word in simple]
        if present:
            found[role] = present[0]
        elif role != "rating":
            missing[role] = f"no column looks like the {role}"
    return found, missing
