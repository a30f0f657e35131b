"""What a table is to those who read it: numbered rows of cells under names. `tables.py` opens the files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TableSource(ABC):
    """The rows of one file, readable any number of times.

    Attributes:
        path: the file.
        unit: what a row's number counts, for messages: "line", "item" or "row".
        columns: distinct names (case does not count). Those of a JSON source are complete after it was read once.
        space_lists: the columns whose header says that spaces separate values (RecBole's `token_seq`).
        has_number_in_header: whether a name is a number, so that the first row may be data without names above it.
        share_read: the share of the file that the current pass has read, 0..1.
    """

    def __init__(self, path: Path, unit: str) -> None:
        self.path = path
        self.unit = unit
        self.columns: list[str] = []
        self.space_lists: frozenset[str] = frozenset()
        self.has_number_in_header = False
        self.share_read = 0.0

    @abstractmethod
    def rows(self) -> Iterator[tuple[int, list[object]]]:
        """Yield (number, cells); cells are in the order of `columns`, and missing ones at the end are left out.

        A cell is a text, a number, a bool, a list, a dict, bytes, or None.

        Raises:
            UsageError: a row cannot be read; the message has its number.
        """

    def error(self, number: int, what: str, hint: str = "") -> UsageError:
        """Return the error about one row."""
        return UsageError(f"{self.path}, {self.unit} {number}: {what}", hint=hint)


def distinct_names(names: list[str]) -> list[str]:
    """Return column names stripped, none empty, and none equal to an earlier one whatever its case.

    >>> distinct_names(["id", " Title ", "", "ID"])
    ['id', 'Title', 'column_3', 'ID_2']
    """
    result: list[str] = []
    used: set[str] = set()
    for position, raw in enumerate(names, 1):
        name = base = "".join(c for c in raw if c.isprintable()).strip() or f"column_{position}"
        suffix = 2
        while name.casefold() in used:
            name, suffix = f"{base}_{suffix}", suffix + 1
        used.add(name.casefold())
        result.append(name)
    return result
