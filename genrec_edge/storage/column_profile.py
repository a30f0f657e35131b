"""What has been seen of one column, cell by cell, and the column that it makes. `infer_columns.py` reads the rows."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from genrec_edge.storage.cells import JSON_LIST, MAX_YEAR, MIN_YEAR, NULLS, name_of
from genrec_edge.storage.column_roles import simple_name
from genrec_edge.storage.columns import Column
from genrec_edge.storage.list_cells import ListCells
from genrec_edge.storage.list_evidence import LIST_NAMES, SEPARATORS, ListEvidence
from genrec_edge.storage.numbers import PLAIN, NumberCollector, begins_with_number, is_missing

if TYPE_CHECKING:
    from collections.abc import Collection

    from genrec_edge.storage.column_choices import Choices

_N_EXAMPLES = 3
_MAX_EXAMPLE_CHARACTERS = 60
_TELLING = frozenset("0123456789-+.$[{")
"""What a text begins with that may say why a column holds text."""
_DATE = re.compile(r"-?[0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:[T ][0-9:.]+ ?(?:Z|[+-][0-9:]+)?)?)?").fullmatch


class ColumnProfile:
    """What has been seen of one column so far."""

    def __init__(self, name: str, known_lists: Collection[str], decimal: str | None, n_missing: int) -> None:
        self.name = name
        self.n_missing = n_missing
        self._n_values = 0
        self._examples: dict[str, None] = {}
        self._words: Counter[str] = Counter()
        self._n_objects = self._n_named = self._n_binary = self._n_digits = self._n_begin = 0
        self._first_begin = ""
        """The first text that begins with a number, and is none."""
        self._numbers = NumberCollector(decimal)
        self._not_number_at = 0
        self._are_bools = False
        self._may_be_numbers = self._may_be_dates = self._may_be_structures = True
        self._is_plain_text = False
        """Whether further texts change nothing."""
        usual = simple_name(name)
        self._is_usual_list = usual in LIST_NAMES or name.casefold() in known_lists
        self._evidence = ListEvidence(usual) if self._is_usual_list else None
        self.lists = ListCells(is_usual=self._is_usual_list)

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
                    if text[0] in _TELLING:
                        self._see_plain(text)
                else:
                    self._see_text(text, number)
        elif cell is None or (isinstance(cell, float) and math.isnan(cell)):
            self.n_missing += 1
        elif isinstance(cell, bytes):
            self._n_binary += 1
        else:
            self._see_native(cell, number)

    def _see_text(self, text: str, number: int) -> None:
        if self._may_be_structures or self._is_usual_list:
            structure = self.lists.parse(text, number)
            if structure is not None:
                self._see_structure(structure)
                self._no_number(f"{text[:40]!r} is not a number", number)
                return
        else:
            self.lists.see_like(text)
        self._may_be_structures = False
        if self._evidence is not None:
            self._evidence.see(text)
        if not self._may_be_numbers:
            self._see_digits(text)
        elif self._are_bools:
            self._no_number(f"{text[:40]!r} is neither true nor false", number)
        elif not self._numbers.add(text):
            self._no_number(self._numbers.reason, number)
            self._see_beginning(text)
        if self._may_be_dates:
            self._may_be_dates = _DATE(text) is not None
        self._is_plain_text = self._evidence is None and not (self._may_be_numbers or self._may_be_dates)

    def _see_plain(self, text: str) -> None:
        """Take in a text that changes nothing, except what is said of the column."""
        self.lists.see_like(text)
        self._see_digits(text)

    def _see_digits(self, text: str) -> None:
        if text.isdecimal():
            self._n_digits += 1
            self._n_begin += 1
        else:
            self._see_beginning(text)

    def _see_beginning(self, text: str) -> None:
        if begins_with_number(text):
            self._n_begin += 1
            self._first_begin = self._first_begin or text[:40]

    def _see_native(self, cell: object, number: int) -> None:
        self._n_values += 1
        self._may_be_dates = False
        if len(self._examples) < _N_EXAMPLES:
            self._keep_example(cell)
        if isinstance(cell, list | dict):
            self._see_structure(cell)
            self.lists.see_native(cell, number)
            self._no_number("a list or an object is not a number", number)
            return
        self._may_be_structures = False
        self.lists.see_other(json.dumps(cell) if isinstance(cell, bool) else cell, number)
        if self._may_be_numbers and isinstance(cell, int | float):
            is_bool = isinstance(cell, bool)
            if self._numbers.n_numbers and is_bool != self._are_bools:
                kind = "a number" if is_bool else "true or false"
                self._no_number(f"{json.dumps(cell)} is not {kind}", number)
                self._n_digits += 1
            elif not self._numbers.add_value(cell):
                self._no_number(self._numbers.reason, number)
            self._are_bools = is_bool
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
        separator = self._separator(choices, unit, decisions)
        if separator is not None:
            column = replace(column, separator=separator, may_be_bare=self.lists.may_be_bare)
        elif self.name not in choices.texts:
            column = self._single(column, choices, decimal, unit, decisions)
        if column.has_words_for_missing and n_words:
            decisions.append(f"{self._shown_words()} taken as missing")
            column = replace(column, n_missing=self.n_missing + n_words)
        elif n_words:
            decisions.append(f"{self._shown_words()} kept as text")
        return replace(column, n_missing=column.n_missing + self._n_binary, decisions=tuple(decisions))

    def _separator(self, choices: Choices, unit: str, decisions: list[str]) -> str | None:
        """Return what separates the values, None if the column holds single ones."""
        if self.name in choices.no_lists or self.name in choices.texts:
            return None
        declared = choices.lists.get(self.name)
        if declared is not None:
            return declared
        decisions += self.lists.decisions(self._n_values, unit)
        if self.lists.are_all:
            return JSON_LIST
        otherwise = JSON_LIST if self.lists.has_lists else None
        if self._evidence is None:
            return otherwise
        if self.name in choices.lists:
            return self._evidence.likeliest() or otherwise or SEPARATORS[0]
        separator, decision = self._evidence.separator()
        if decision:
            decisions.append(decision)
        return separator or otherwise

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
                are_bools=self._are_bools,
                are_years=are_whole and low >= MIN_YEAR and high <= MAX_YEAR,
            )
        n_numbers = self._numbers.n_numbers + self._n_digits
        where = f" ({unit} {self._not_number_at})" if self._not_number_at else ""
        if self._numbers.reason and n_numbers and (self._numbers.n_numbers or n_numbers * 2 >= self._n_values):
            decisions.append(f"text, as {self._numbers.reason}{where}")
        elif self._first_begin and self._n_begin * 2 >= self._n_values and not self._may_be_dates:
            decisions.append(f"text, as {self._numbers.reason}{where}{self._beginnings()}")
        return replace(column, has_words_for_missing=bool(self._n_values) and self._may_be_dates)

    def _beginnings(self) -> str:
        example = "" if repr(self._first_begin) in self._numbers.reason else f", such as {self._first_begin!r}"
        return f"; {self._n_begin:,} of {self._n_values:,} values begin with a number{example}"

    def _shown_words(self) -> str:
        shown = ", ".join(repr(word) for word, _ in self._words.most_common(_N_EXAMPLES))
        return f"{shown} ({self._words.total():,})"
