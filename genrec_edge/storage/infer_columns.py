"""What the columns of a table hold: their types, how their numbers are written, and which hold lists of values.

A type is decided over the whole file. Knows rows of cells; nothing of files and catalogs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from genrec_edge.storage.column_choices import Choices
from genrec_edge.storage.column_profile import ColumnProfile
from genrec_edge.storage.user_json import RepeatedKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from genrec_edge.storage.columns import Column
    from genrec_edge.storage.table_source import TableSource

__all__ = ["Choices", "infer_columns"]


def infer_columns(
    source: TableSource, choices: Choices | None = None, on_progress: Callable[[], object] | None = None
) -> list[Column]:
    """Read a source once and return what each column holds.

    Args:
        source: read from its first row; afterwards its `columns` are complete.
        choices: what is known of the columns.
        on_progress: called about once in a thousand rows.

    Raises:
        UsageError: a row cannot be read, `choices` are of columns that do not exist, or an object in a cell of a list
            column has a key twice.
    """
    choices = choices or Choices()
    known = {name.casefold() for name in (*choices.lists, *choices.known_lists)}
    profiles: list[ColumnProfile] = []
    for n_rows, (number, cells) in enumerate(source.rows()):
        if len(cells) > len(profiles):
            new = source.columns[len(profiles) :]
            profiles.extend([ColumnProfile(name, known, choices.decimal, n_rows) for name in new])
        if on_progress is not None and not n_rows % 1000:
            on_progress()
        for cell, profile in zip(cells, profiles, strict=False):
            profile.see(cell, number)
        for profile in profiles[len(cells) :]:
            profile.n_missing += 1
    profiles += [ColumnProfile(name, known, choices.decimal, 0) for name in source.columns[len(profiles) :]]
    choices = choices.of(source.columns)
    decimals = {mark for profile in profiles if (mark := profile.decimal_mark)}
    decimal = decimals.pop() if len(decimals) == 1 else None
    chosen = replace(choices, lists={**dict.fromkeys(source.space_lists, " "), **choices.lists})
    columns = [profile.column(i, chosen, decimal, source.unit) for i, profile in enumerate(profiles)]
    for column, profile in zip(columns, profiles, strict=True):
        if column.separator is not None and profile.lists.fault is not None:
            number, what = profile.lists.fault
            raise source.error(number, f"{column.name}: {what}", RepeatedKeyError.hint)
    return columns
