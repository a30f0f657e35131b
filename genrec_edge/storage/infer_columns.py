"""What the columns of a table hold: their types, how their numbers are written, and which hold lists of values.

A type is decided over the whole file. Knows rows of cells; nothing of files and catalogs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError
from genrec_edge.storage.cells import JSON_LIST, MAX_YEAR, MIN_YEAR, NULLS, name_of
from genrec_edge.storage.column_roles import column_position, simple_name
from genrec_edge.storage.columns import Column
from genrec_edge.storage.list_evidence import LIST_NAMES, ListEvidence
from genrec_edge.storage.literals import parse_structure
from genrec_edge.storage.numbers import PLAIN, NumberCollector, is_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from genrec_edge.storage.table_source import TableSource

_N_EXAMPLES = 3
_MAX_EXAMPLE_CHARACTERS = 60
_DATE = re.compile(r"-?[0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:[T ][0-9:.]+ ?(?:Z|[+-][0-9:]+)?)?)?").fullmatch


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


def infer_columns(
    source: TableSource, choices: Choices | None = None, on_progress: Callable[[], object] | None = None
) -> list[Column]:
    """Read a source once and return what each column holds.

    Args:
        source: read from its first row; afterwards its `columns` are complete.
        choices: what is known of the columns.
        on_progress: called about once in a thousand rows.

    Raises:
        UsageError: a row cannot be read, or `choices` are of columns that do not exist.
    """
    choices = choices or Choices()
    known = {name.casefold() for name in (*choices.lists, *choices.known_lists)}
    profiles: list[_Profile] = []
    for n_rows, (number, cells) in enumerate(source.rows()):
        if len(cells) > len(profiles):
            new = source.columns[len(profiles) :]
            profiles.extend([_Profile(name, known, choices.decimal, n_rows) for name in new])
        if on_progress is not None and not n_rows % 1000:
            on_progress()
        for cell, profile in zip(cells, profiles, strict=False):
            profile.see(cell, number)
        for profile in profiles[len(cells) :]:
            profile.n_missing += 1
    profiles += [_Profile(name, known, choices.decimal, 0) for name in source.columns[len(profiles) :]]
    choices = choices.of(source.columns)
    decimals = {mark for profile in profiles if (mark := profile.decimal_mark)}
    decimal = decimals.pop() if len(decimals) == 1 else None
    chosen = replace(choices, lists={**dict.fromkeys(source.space_lists, " "), **choices.lists})
    return [profile.column(i, chosen, decimal, source.unit) for i, profile in enumerate(profiles)]


class _Profile:
    """What has been seen of one column so far."""

    def __init__(self, name: str, known_lists: Collection[str], decimal: str | None, n_missing: int) -> None:
        self.name = name
        self.n_missing = n_missing
        self._n_values = 0
        self._examples: dict[str, None] = {}
        self._words: Counter[str] = Counter()
        self._n_arrays = self._n_native_lists = self._n_objects = self._n_named = self._n_binary = self._n_digits = 0
        self._numbers = NumberCollector(decimal)
        self._not_number_at = 0
        self._may_be_numbers = self._may_be_dates = self._may_be_structures = True
        self._is_plain_text = False
        """Whether further texts change nothing."""
        usual = simple_name(name)
        self._is_usual_list = usual in LIST_NAMES or name.casefold() in known_lists
        self._evidence = ListEvidence(usual) if self._is_usual_list else None

    def see(self, cell: object, number: int) -> None:
        """Take in the cell of the row of this number."""
        if isinstance(cell, str):
            text = cell.strip()
            if text in NULLS:
                self.n_missing += 1
            elif is_missing(text):
                self._words[text] += 1
            else:
                self._n_values += 1
                if len(self._examples) < _N_EXAMPLES:
                    self._keep_example(text)
                if self._is_plain_text:
                    self._n_digits += text.isdecimal()
                else:
                    self._see_text(text, number)
        elif cell is None or (isinstance(cell, float) and math.isnan(cell)):
            self.n_missing += 1
        elif isinstance(cell, bytes):
            self._n_binary += 1
        else:
            self._see_native(cell, number)

    def _see_text(self, text: str, number: int) -> None:
        if (self._may_be_structures or self._is_usual_list) and (text[0] in "[{(" or text[:2] == "c("):
            structure = parse_structure(text)
            if structure is not None:
                self._see_structure(structure)
                self._n_arrays += isinstance(structure, list)
                self._no_number(f"{text[:40]!r} is not a number", number)
                return
        self._may_be_structures = False
        if self._evidence is not None:
            self._evidence.see(text)
        if not self._may_be_numbers:
            self._n_digits += text.isdecimal()
        elif not self._numbers.add(text):
            self._no_number(self._numbers.reason, number)
        if self._may_be_dates:
            self._may_be_dates = _DATE(text) is not None
        self._is_plain_text = self._evidence is None and not (self._may_be_numbers or self._may_be_dates)

    def _see_native(self, cell: object, number: int) -> None:
        self._n_values += 1
        self._may_be_dates = False
        if len(self._examples) < _N_EXAMPLES:
            self._keep_example(cell)
        if isinstance(cell, list | dict):
            self._see_structure(cell)
            self._n_native_lists += isinstance(cell, list)
            self._no_number("a list or an object is not a number", number)
            return
        self._may_be_structures = False
        if self._may_be_numbers and isinstance(cell, int | float):
            if not self._numbers.add_value(cell):
                self._no_number(self._numbers.reason, number)
        else:
            self._n_digits += 1

    def _see_structure(self, structure: list[object] | dict[str, object]) -> None:
        self._may_be_dates = False
        if isinstance(structure, dict):
            self._n_objects += 1
            self._n_named += name_of(structure) is not structure

    def _no_number(self, reason: str, number: int) -> None:
        if self._may_be_numbers:
            self._numbers.reason = reason
            self._not_number_at = number
        self._may_be_numbers = False

    def _keep_example(self, cell: object) -> None:
        self._examples[str(cell)[:_MAX_EXAMPLE_CHARACTERS]] = None

    @property
    def decimal_mark(self) -> str:
        """The decimal mark that the column shows, "" if none."""
        return self._numbers.decimal_mark if self._may_be_numbers else ""

    def column(self, position: int, choices: Choices, decimal: str | None, unit: str) -> Column:
        """Return the column; `decimal` is the mark of the other columns."""
        decisions: list[str] = []
        column = Column(self.name, position, "TEXT", examples=tuple(self._examples), n_missing=self.n_missing)
        n_words = self._words.total()
        if self._n_binary:
            decisions.append(f"{self._n_binary:,} cells of bytes are left out")
        if not self._n_values and not n_words:
            return replace(column, is_empty=True, n_missing=self.n_missing + self._n_binary, decisions=tuple(decisions))
        separator = self._separator(choices, decisions)
        if separator is not None:
            column = replace(column, separator=separator)
        elif self.name not in choices.texts:
            column = self._single(column, choices, decimal, unit, decisions)
        if column.has_words_for_missing and n_words:
            decisions.append(f"{self._shown_words()} taken as missing")
            column = replace(column, n_missing=self.n_missing + n_words)
        elif n_words:
            decisions.append(f"{self._shown_words()} kept as text")
        return replace(column, n_missing=column.n_missing + self._n_binary, decisions=tuple(decisions))

    def _separator(self, choices: Choices, decisions: list[str]) -> str | None:
        """Return what separates the values, None if the column holds single ones."""
        if self.name in choices.no_lists or self.name in choices.texts:
            return None
        declared = choices.lists.get(self.name)
        if declared is not None:
            return declared
        n_lists = self._n_arrays + self._n_native_lists
        if self._n_native_lists or (n_lists and (n_lists == self._n_values or self._is_usual_list)):
            return JSON_LIST
        if n_lists:
            decisions.append(f"text, though {n_lists:,} of {self._n_values:,} values look like lists")
        if self._evidence is None:
            return None
        if self.name in choices.lists:
            return self._evidence.likeliest()
        separator, decision = self._evidence.separator()
        if decision:
            decisions.append(decision)
        return separator

    def _single(self, column: Column, choices: Choices, decimal: str | None, unit: str, decisions: list[str]) -> Column:
        """Return the column as one of single values: objects, numbers, dates or text."""
        if self._n_objects and self._n_objects == self._n_named == self._n_values:
            decisions.append("the names of its objects")
            return replace(column, has_objects=True)
        numbers = self._numbers.format(decimal) if self._may_be_numbers and self._n_values else None
        kind = "TEXT" if numbers is None else self._numbers.kind
        if numbers is not None and kind != "TEXT":
            if numbers != PLAIN:
                used = "" if choices.decimal or self._numbers.format() else ", as in other columns"
                decisions.append(f"numbers with {numbers}{used}")
            if self._numbers.note and not choices.decimal:
                decisions.append(self._numbers.note)
            low, high = self._numbers.lowest, self._numbers.highest
            are_whole = self._numbers.are_whole and numbers == PLAIN
            return replace(
                column,
                kind=kind,
                numbers=numbers,
                has_words_for_missing=True,
                are_whole=are_whole,
                are_years=are_whole and low >= MIN_YEAR and high <= MAX_YEAR,
            )
        n_numbers = self._numbers.n_numbers + self._n_digits
        if self._numbers.reason and n_numbers and (self._numbers.n_numbers or n_numbers * 2 >= self._n_values):
            where = f" ({unit} {self._not_number_at})" if self._not_number_at else ""
            decisions.append(f"text, as {self._numbers.reason}{where}")
        return replace(column, has_words_for_missing=bool(self._n_values) and self._may_be_dates)

    def _shown_words(self) -> str:
        shown = ", ".join(repr(word) for word, _ in self._words.most_common(_N_EXAMPLES))
        return f"{shown} ({self._words.total():,})"


def as_list(column: Column) -> Column:
    """Return the column as one of lists, separated by commas unless another separator is known."""
    return column if column.separator is not None else replace(column, separator=",")


def as_single(column: Column) -> Column:
    """Return the column as one of single values."""
    return replace(column, separator=None)
