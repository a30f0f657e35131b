"""Which columns of a table are the user, the item, the timestamp and the rating of events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def find_columns(source: TableSource, named: Mapping[str, str | None]) -> EventColumns:
    """Find the columns "user", "item", "timestamp" and "rating": those in `named`, else the first usual name present.

    A JSON source is read once for this.

    Raises:
        UsageError: a named column does not exist, or no column looks like the user, the item or the timestamp; the
            message lists all of them.
    """
    if not source.columns:
        deque(source.rows(), maxlen=0)
    names = [name.casefold() for name in source.columns]
    simple = ["".join(c for c in name if c.isalnum()) for name in names]
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
    if missing:
        message = f"{source.path}: {', '.join(missing.values())}; the columns are: {', '.join(source.columns)}"
        arguments = ", ".join(f"`{role}`" for role in missing)
        raise UsageError(message, hint=f"name the column with {arguments}")
    return EventColumns(found["user"], found["item"], found["timestamp"], found.get("rating"))
