"""What a caller says of the columns of a table, instead of having it inferred."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError
from genrec_edge.storage.column_roles import column_position

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True)
class Choices:
    """What the caller says of columns, instead of having it inferred. Names are as in the source, in any case."""

    lists: Mapping[str, str | None] = field(default_factory=dict)
    """Columns that hold lists, with their separator, or None to find it."""
    no_lists: Collection[str] = ()
    """Columns that hold single values, whatever is in them."""
    texts: Collection[str] = ()
    """Columns that hold texts, though they may look like numbers."""
    decimal: str | None = None
    """The decimal mark, "." or ","."""
    known_lists: Collection[str] = ()
    """Columns that may hold lists, as those of these names do elsewhere. They need not exist."""

    def of(self, names: list[str]) -> Choices:
        """Return the choices with the names as the source has them.

        Raises:
            UsageError: there is no such column, or `decimal` is no decimal mark.
        """
        if self.decimal not in {None, ".", ","}:
            raise UsageError(f"`decimal` must be '.' or ',', got {self.decimal!r}")

        def found(name: str) -> str:
            return names[column_position(names, name)]

        lists = {found(name): separator for name, separator in self.lists.items()}
        no_lists, texts = {found(name) for name in self.no_lists}, {found(name) for name in self.texts}
        if both := sorted(lists.keys() & (no_lists | texts)):
            raise UsageError(f"{both[0]!r} cannot be a list and none", hint="name it once")
        return Choices(lists, no_lists, texts, self.decimal)
