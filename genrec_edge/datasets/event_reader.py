"""Reads the rows of a table as interactions: user, item, timestamp and rating.

Knows columns and cells; nothing of folders, catalogs and splits. All invalid rows are counted before the one error is
raised, which shows the first few.
"""

from __future__ import annotations

import math
import reprlib
from array import array
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.item_ids import HiddenIds, plain_id
from genrec_edge.datasets.events import EventOptions, Events, counted, without_repeats
from genrec_edge.errors import UsageError, several
from genrec_edge.storage.cells import scalar
from genrec_edge.storage.numbers import is_missing
from genrec_edge.storage.times import TIME_HINT, UnclearTimesError, moment_of, number_of, rating_of, to_seconds
from genrec_edge.storage.user_json import spelling, whole_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from genrec_edge.datasets.event_columns import EventColumns
    from genrec_edge.storage.tables import TableSource

_MAX_SHOWN = 5
_IMPORT = EventOptions()


def read_events(
    source: TableSource,
    at: EventColumns,
    item_index: Mapping[str, int],
    options: EventOptions = _IMPORT,
    on_progress: Callable[[float], object] | None = None,
) -> Events:
    """Read all events of a source; `storage.times` says which timestamps are understood.

    An id is the same whether it is written as a number or as text, with decimals of zero or without: 1, 1.0 and "1".

    Args:
        source: a file of rows.
        at: the positions of the columns.
        item_index: index of each item by its id.
        options: how they are read.
        on_progress: called with the share read, 0..1.

    Raises:
        UsageError: rows that cannot be read or are invalid, with their numbers and values; timestamps of no clear unit;
            or no rows at all.
    """
    options.check()
    reader = _Reader(source, at, item_index, options)
    for n_rows, (number, row) in enumerate(source.rows()):
        reader.add(number, row)
        if on_progress is not None and not n_rows % 1024:
            on_progress(source.share_read)
    return reader.events()


class _Reader:
    """Takes in rows one by one, in arrays of a few bytes an event."""

    def __init__(
        self, source: TableSource, at: EventColumns, item_index: Mapping[str, int], options: EventOptions
    ) -> None:
        self._source, self._at, self._options = source, at, options
        self._width = at.width
        self._item_index = item_index
        self._plain_index = {} if options.is_ours else _plain_index(item_index)
        self._user_index: dict[str, int] = {}
        self._users, self._items = array("i"), array("i")
        self._times, self._ratings = array("d"), array("f")
        self._are_dates = array("b")
        self._problems: list[str] = []
        self._n_invalid = 0
        self._unknown: dict[str, int] = {}
        """Of the items left out, how many events each."""
        self._n_respelled = 0
        self._respelled = ""

    def add(self, number: int, row: list[object]) -> None:
        cells = row if len(row) >= self._width else [*row, *[None] * (self._width - len(row))]
        user, item_id = self._id(cells[self._at.user], is_user=True), self._id(cells[self._at.item])
        item = None if item_id is None else self._item(item_id)
        rating_cell = None if self._at.rating is None else _present(cells[self._at.rating])
        rating = math.nan if rating_cell is None else rating_of(rating_cell)
        time = number_of(cells[self._at.timestamp])
        moment = moment_of(cells[self._at.timestamp]) if time is None else None
        is_skipped = item is None and item_id is not None and self._options.skip_unknown
        if user is None or (item is None and not is_skipped) or rating is None or (time is None and moment is None):
            self._n_invalid += 1
            if self._n_invalid <= _MAX_SHOWN:
                what = self._problem(cells, user, item_id, item, is_skipped=is_skipped, rating=rating)
                self._problems.append(f"{self._source.unit} {number}: {what}")
            return
        if item is None:
            self._unknown[str(item_id)] = self._unknown.get(str(item_id), 0) + 1
            return
        self._users.append(self._user_index.setdefault(user, len(self._user_index)))
        self._items.append(item)
        self._times.append(moment if time is None else time)  # type: ignore[arg-type]
        self._are_dates.append(time is None)
        self._ratings.append(rating)

    def _id(self, cell: object, *, is_user: bool = False) -> str | None:
        """Return an id as text, None for a cell without one."""
        if isinstance(cell, bool | list | dict | bytes):
            return None
        text = scalar(cell)
        if text is None or (isinstance(text, float) and math.isnan(text)):
            return None
        if self._options.is_ours:
            return str(text)
        written = whole_text(spelling(text)) if isinstance(text, float) and text.is_integer() else str(text)
        plain = plain_id(written)
        if is_user and (plain != written or isinstance(text, float)):
            self._n_respelled += 1
            self._respelled = self._respelled or str(text)
        return plain if is_user else written

    def _item(self, item_id: str) -> int | None:
        found = self._item_index.get(item_id)
        return self._plain_index.get(plain_id(item_id)) if found is None else found

    def _problem(
        self,
        cells: list[object],
        user: str | None,
        item_id: str | None,
        item: int | None,
        *,
        is_skipped: bool,
        rating: float | None,
    ) -> str:
        """Return what is wrong with the first invalid cell of a row."""
        at = self._at
        if user is None:
            return _wrong("user", cells[at.user])
        if item_id is None:
            return _wrong("item", cells[at.item])
        if item is None and not is_skipped:
            return f"unknown item {reprlib.repr(scalar(cells[at.item]))}"
        if rating is None:
            return f"rating {reprlib.repr(cells[at.rating or 0])}"
        return _wrong("timestamp", cells[at.timestamp])

    def events(self) -> Events:
        """Return all events taken in."""
        if self._n_invalid:
            raise self._invalid()
        n_unknown = sum(self._unknown.values())
        if not self._users:
            if n_unknown:
                message = f"{self._source.path}: none of {counted(n_unknown)} has an item of the item table"
                raise UsageError(message, hint="check which column holds the ids of the items")
            raise UsageError(f"{self._source.path} has no events")
        timestamps, unit = self._seconds()
        events = Events(
            tuple(self._user_index),
            np.frombuffer(self._users, np.int32),
            np.frombuffer(self._items, np.int32),
            timestamps,
            np.frombuffer(self._ratings, np.float32),
            n_unknown,
            tuple(self._notes(unit)),
        )
        return events if self._options.is_ours else without_repeats(events, self._options.repeats)

    def _invalid(self) -> UsageError:
        n_more = self._n_invalid - len(self._problems)
        shown = [*self._problems, f"and {n_more:,} more"] if n_more else self._problems
        message = f"{self._source.path}: {counted(self._n_invalid)} cannot be used: {'; '.join(shown)}"
        hints = {
            "unknown item": "every item must be in the item table; `skip_unknown` leaves such events out",
            "timestamp": TIME_HINT,
        }
        hint = next((hint for word, hint in hints.items() if f": {word}" in self._problems[0]), "")
        return UsageError(message, hint=hint or "correct or remove them")

    def _seconds(self) -> tuple[NDArray[np.float64], str]:
        times = np.frombuffer(self._times, np.float64)
        if self._options.is_ours:
            return times, ""
        is_number = np.frombuffer(self._are_dates, np.int8) == 0
        try:
            seconds, unit = to_seconds(times[is_number], self._options.time_unit)
        except UnclearTimesError as e:
            raise UsageError(f"{self._source.path}: {e.message}{self._places(e)}", hint=e.hint) from e
        if not unit:
            return times, ""
        times = times.copy()
        times[is_number] = seconds
        return times, unit

    def _places(self, error: UnclearTimesError) -> str:
        """Return where the first example of an error stands."""
        for number, row in self._source.rows():
            if len(row) > self._at.timestamp and number_of(row[self._at.timestamp]) == error.examples[0]:
                return f"; the first in {self._source.unit} {number}"
        return ""

    def _notes(self, unit: str) -> Iterator[str]:
        if self._unknown:
            of_items = "an item" if len(self._unknown) == 1 else f"{len(self._unknown):,} items"
            # The most frequent ones first; of equal ones, the first in the file.
            unknown = sorted(self._unknown, key=lambda name: -self._unknown[name])
            names = several([reprlib.repr(name) for name in unknown], most=_MAX_SHOWN, separator=", ")
            yield f"left out: {counted(sum(self._unknown.values()))} of {of_items} not in the item table: {names}"
        if unit:
            yield f"the times are read as {unit}"
        hidden = HiddenIds()
        for user in () if self._options.is_ours else self._user_index:
            hidden.see(user, "")
        yield from (f"user ids: {note}" for note in hidden.notes(lambda: self._user_index))
        if self._n_respelled:
            example = f"{self._respelled} as {plain_id(self._respelled)}"
            yield f"user ids with decimals are read as whole numbers, {example}, in {counted(self._n_respelled)}"


def _plain_index(item_index: Mapping[str, int]) -> dict[str, int]:
    """Return the index of each item by its id without decimals, where that is the id of one item only."""
    plain: dict[str, int] = {}
    doubled = set()
    for item_id, item in item_index.items():
        if plain.setdefault(plain_id(item_id), item) != item:
            doubled.add(plain_id(item_id))
    return {item_id: item for item_id, item in plain.items() if item_id not in doubled}


def _present(cell: object) -> object:
    """Return a cell, None for one that holds nothing or says so, as "NA" does."""
    if isinstance(cell, str):
        return None if is_missing(cell.strip()) else scalar(cell)
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _wrong(what: str, cell: object) -> str:
    return f"no {what}" if _present(cell) is None else f"{what} {reprlib.repr(cell)}"
