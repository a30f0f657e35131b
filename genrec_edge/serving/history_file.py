"""What a history means: titles, or objects with id, title, year, timestamp and rating.

`history_table.py` reads files of other formats.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError
from genrec_edge.records import Interaction
from genrec_edge.storage.cells import NULLS, parse_year
from genrec_edge.storage.column_roles import simple_name
from genrec_edge.storage.times import TIME_HINT, UnclearTimesError, moment_of, number_of, rating_of, to_seconds
from genrec_edge.storage.user_json import RepeatedKeyError, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import BinaryIO

_FIELD_NAMES = {
    "title": ("title", "name", "movie", "film", "movietitle", "primarytitle"),
    "id": ("id", "item", "itemid", "movieid", "imdbid", "tconst", "const"),
    "year": ("year", "releaseyear", "productionyear", "startyear", "releasedate"),
    "timestamp": ("timestamp", "time", "date", "datetime", "watchedat", "watcheddate", "daterated", "lastplayed"),
    "rating": ("rating", "stars", "score", "yourrating", "myrating"),
}
"""What fields are called, the likeliest first, in lower case and without punctuation."""
_MAX_SHOWN = 5
MAX_LINE_BYTES = 1 << 20
"""A line that goes on for ever would take all memory."""


@dataclass(frozen=True, slots=True)
class ParsedHistory:
    """Interactions, oldest first as far as the file says, and `notes`: what of it was not used or had to be decided."""

    interactions: tuple[Interaction, ...]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Entry:
    """An interaction, and whether its timestamp is a number whose unit all entries decide together."""

    interaction: Interaction
    has_number: bool = False


def parse_history(lines: Iterable[bytes] | BinaryIO, name: str) -> ParsedHistory:
    """Return the interactions of a history file; empty lines are skipped. `name` is used in messages.

    A line that begins with "{" is a JSON object, see `history_of`. Any other line is a title.

    Raises:
        UsageError: a line is not UTF-8, too long, or no such object; the message says which line.
    """
    return history_of(_values(lines, name), name)


def _values(lines: Iterable[bytes] | BinaryIO, name: str) -> Iterator[tuple[str, object]]:
    """Yield where a line stands, and its title or object."""
    readline = getattr(lines, "readline", None)
    bounded = lines if readline is None else iter(lambda: readline(MAX_LINE_BYTES + 1), b"")
    for number, line in enumerate(bounded, start=1):
        where = f"{name}, line {number}"
        if len(line) > MAX_LINE_BYTES:
            message = f"{where} has more than {MAX_LINE_BYTES:,} bytes"
            raise UsageError(message, hint="write one title a line")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as e:
            raise UsageError(f"{where} is not UTF-8 (byte {e.start + 1})", hint="save the file as UTF-8") from e
        if text.startswith("{"):
            yield where, _object(text, where)
        elif text:
            yield where, text


def _object(text: str, where: str) -> object:
    try:
        return parse_json(text)
    except RepeatedKeyError as e:
        raise UsageError(f"{where}: {e}", hint=e.hint) from e
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{where} begins like JSON and is not: {e}", hint="one object a line") from e


def history_of(values: Iterable[tuple[str, object]], name: str) -> ParsedHistory:
    """Return what a list of (where it stands, title or object) means. `name` is used in messages.

    An object has at least `id` or `title`, and may have `year`, `timestamp` and `rating`, or other usual names of
    these; the same field twice is read by its first name. Timestamps are numbers, whose unit all of them decide
    (`storage.times.to_seconds`), or dates. Other fields are counted in the notes.

    Raises:
        UsageError: an object has neither, or a field that cannot be read; or the timestamps have no clear unit.
    """
    ignored: Counter[str] = Counter()
    entries = [_entry(value, where, ignored) for where, value in values]
    interactions, unit_note = _in_seconds(entries, name)
    notes = [f"{name}: {unit_note}"] if unit_note else []
    n_timed = sum(interaction.timestamp is not None for interaction in interactions)
    if 0 < n_timed < len(interactions):
        n_without = len(interactions) - n_timed
        notes.append(f"{name}: {n_without:,} of {len(interactions):,} entries have no time: all stay in their order")
    if ignored:
        notes.append(f"{name}: not used: {ignored_text(ignored)}")
    return ParsedHistory(tuple(interactions), tuple(notes))


def ignored_text(ignored: Mapping[str, int]) -> str:
    """Return the names of fields that were not used, with how many entries have each."""
    shown = [f"{reprlib.repr(field)} ({n:,})" for field, n in sorted(ignored.items(), key=lambda f: (-f[1], f[0]))]
    more = [f"and {len(shown) - _MAX_SHOWN:,} more"] if len(shown) > _MAX_SHOWN else []
    return ", ".join([*shown[:_MAX_SHOWN], *more])


def _entry(value: object, where: str, ignored: Counter[str]) -> _Entry:
    if isinstance(value, str):
        return _Entry(Interaction(title=value))
    if not isinstance(value, Mapping):
        message = f"{where} is {reprlib.repr(value)}"
        raise UsageError(message, hint="write a title, or an object with title or id")
    fields = _fields(value)
    ignored.update(name for name in value if name not in fields.values() and value[name] is not None)
    cells = {role: value[name] for role, name in fields.items()}
    title, item_id = (_text(cells.get(role), f"{where}: {fields.get(role)}") for role in ("title", "id"))
    if title is None and item_id is None:
        raise UsageError(f"{where} has neither a title nor an id", hint='write {"title": "..."} or {"id": "..."}')
    rating = _rating(cells.get("rating"), f"{where}: {fields.get('rating')}")
    year = _year(cells.get("year"), f"{where}: {fields.get('year')}")
    time_cell = present(cells.get("timestamp"))
    timestamp, moment = number_of(time_cell), moment_of(time_cell)
    if time_cell is not None and timestamp is None and moment is None:
        raise UsageError(f"{where}: {fields['timestamp']} is {reprlib.repr(time_cell)}", hint=TIME_HINT)
    has_number = timestamp is not None
    return _Entry(Interaction(title, item_id, timestamp if has_number else moment, rating, year), has_number)


def _fields(value: Mapping[str, object]) -> dict[str, str]:
    """Return the name of the field that holds each role: the likeliest one that is not empty, else that is not null."""
    simple: dict[str, str] = {}
    for name, cell in sorted(value.items(), key=lambda field: present(field[1]) is None):
        if cell is not None:
            simple.setdefault(simple_name(name), name)
    found: dict[str, str] = {}
    for role, usual in _FIELD_NAMES.items():
        names = [simple[word] for word in usual if word in simple]
        if names:
            found[role] = next((name for name in names if present(value[name]) is not None), names[0])
    return found


def roles_of(names: Iterable[str]) -> set[str]:
    """Return which of "title", "id", "year", "timestamp" and "rating" some of these names are."""
    simple = {simple_name(name) for name in names}
    return {role for role, usual in _FIELD_NAMES.items() if simple & set(usual)}


def _in_seconds(entries: Sequence[_Entry], name: str) -> tuple[list[Interaction], str]:
    """Return the interactions with timestamps in seconds, and what numbers were taken for, "" for seconds."""
    at = [place for place, entry in enumerate(entries) if entry.has_number]
    numbers = np.array([entries[place].interaction.timestamp for place in at], np.float64)
    try:
        seconds, unit = to_seconds(numbers)
    except UnclearTimesError as e:
        raise UsageError(f"{name}: {e.message}", hint=TIME_HINT) from e
    interactions = [entry.interaction for entry in entries]
    for place, second in zip(at, seconds.tolist(), strict=True):
        interactions[place] = replace(interactions[place], timestamp=second)
    return interactions, f"the times are read as {unit}" if unit else ""


def present(cell: object) -> object:
    """Return a cell, None for text that holds nothing."""
    return None if isinstance(cell, str) and cell.strip() in NULLS else cell


def _text(value: object, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    raise UsageError(f"{what} is {reprlib.repr(value)}", hint="write it as text")


def _rating(value: object, what: str) -> float | None:
    value = present(value)
    rating = rating_of(value)
    if value is not None and rating is None:
        raise UsageError(f"{what} is {reprlib.repr(value)}", hint="write it as a number")
    return rating


def _year(value: object, what: str) -> int | None:
    value = present(value)
    year = None if isinstance(value, bool | list | dict) else parse_year(value)
    if value is not None and year is None:
        raise UsageError(f"{what} is {reprlib.repr(value)}", hint="write a year of four digits")
    return year
