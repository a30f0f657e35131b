"""Which cells of a column are lists, and whether the column holds lists: all of its cells decide, not one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.storage.bare_lists import parse_bare_list
from genrec_edge.storage.literals import may_be_structure, parse_structure
from genrec_edge.storage.user_json import RepeatedKeyError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_SHOWN_CHARACTERS = 40


class ListCells:
    """Takes in the cells of a column that may be lists or objects.

    A column holds lists if all cells that hold something are lists. Lists without quotes, `[A, B]` and `{A,B}`, count
    if one of them has two values. A column with an array of JSON itself holds lists in any case, and so does one whose
    name is usual for lists if one cell is a list; its other cells are read as texts.

    Args:
        is_usual: whether the name of the column is usual for lists, or the caller says that it holds some.
    """

    def __init__(self, *, is_usual: bool) -> None:
        self._is_usual = is_usual
        self._n_written = self._n_native = self._n_like = 0
        """Lists written as text, lists of JSON itself, and texts that only begin and end so."""
        self._n_bare = 0
        """Of those written as text, the ones without quotes."""
        self._is_bare_sure = False
        self._first_bare: tuple[str, int] | None = None
        self._first_other: tuple[str, int] | None = None
        self.fault: tuple[int, str] | None = None
        """The first cell whose object has a key twice: its row, and what is wrong."""

    def parse(self, text: str, number: int) -> list[object] | dict[str, object] | None:
        """Take in a text; return the list or object that it is, None for another text."""
        structure: list[object] | dict[str, object] | None = None
        if may_be_structure(text):
            try:
                structure = parse_structure(text)
            except RepeatedKeyError as e:
                self.fault = self.fault or (number, str(e))
            else:
                structure = self._bare(text, number) if structure is None else structure
        if structure is None:
            self.see_other(text, number)
        elif structure == {}:
            pass  # of PostgreSQL and sets: a list without values, where the other cells are lists
        elif isinstance(structure, list):
            self._n_written += 1
        else:
            self.see_other(text, number)
        return structure

    def _bare(self, text: str, number: int) -> list[object] | None:
        values = parse_bare_list(text)
        if values is None:
            return None
        self._n_bare += 1
        self._is_bare_sure = self._is_bare_sure or len(values) > 1
        self._first_bare = self._first_bare or (text[:_MAX_SHOWN_CHARACTERS], number)
        return list[object](values)

    def see_native(self, cell: list[object] | dict[str, object], number: int) -> None:
        """Take in a list or an object of JSON itself."""
        if isinstance(cell, list):
            self._n_native += 1
        elif cell:
            self.see_other(cell, number)

    def see_other(self, cell: object, number: int) -> None:
        """Take in a single value."""
        if self._first_other is None:
            self._first_other = (str(cell)[:_MAX_SHOWN_CHARACTERS], number)

    def see_like(self, text: str) -> None:
        """Take in a text of a column that holds texts already."""
        self._n_like += text[0] + text[-1] in {"[]", "{}"}

    @property
    def _n_lists(self) -> int:
        return self._n_written + self._n_native

    @property
    def has_lists(self) -> bool:
        """Whether the column holds lists, by the rule above."""
        if self._n_native or (self._is_usual and self._n_written > self._n_bare):
            return True
        if not self._n_written or (self._first_other is not None and not self._is_usual):
            return False
        if self._first_other is None and self._is_usual:
            return True
        return self._is_bare_sure or (not self._n_bare and self._first_other is None)

    @property
    def may_be_bare(self) -> bool:
        """Whether its lists may be without quotes."""
        return bool(self._n_bare) and self.has_lists and (self._is_bare_sure or self._first_other is None)

    @property
    def are_all(self) -> bool:
        """Whether every cell is a list."""
        return self.has_lists and self._first_other is None

    def decisions(self, n_values: int, unit: str) -> Iterator[str]:
        """Yield what should be said of the lists: that some have no quotes, and that some cells are none.

        Args:
            n_values: how many cells hold something.
            unit: what the number of a row counts.
        """
        n_like = self._n_lists + self._n_like
        is_likely = self._n_lists or self._n_like * 2 >= n_values
        other = "" if self._first_other is None else f"{self._first_other[0]!r} ({unit} {self._first_other[1]})"
        if self.may_be_bare and self._first_bare is not None:
            yield f"lists without quotes, such as {self._first_bare[0]!r} ({unit} {self._first_bare[1]})"
        if self.has_lists and other:
            yield f"{self._n_lists:,} of {n_values:,} values are written as lists; the first other one is {other}"
        elif not self.has_lists and other and n_like and is_likely:
            yield f"text, though {n_like:,} of {n_values:,} values look like lists; the first other one is {other}"
        if self.fault is not None and not self.has_lists:
            yield f"text, as {self.fault[1]} ({unit} {self.fault[0]})"
