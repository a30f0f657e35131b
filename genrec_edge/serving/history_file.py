"""Histories from text: one title a line, or JSON lines with id, title, timestamp and rating."""

from __future__ import annotations

import json
import reprlib
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TEXT_FIELDS = ("title", "id")
_NUMBER_FIELDS = ("timestamp", "rating")


def parse_history(lines: Iterable[bytes], name: str) -> list[Interaction]:
    """Return the interactions of a history file; empty lines are skipped. `name` is used in messages.

    A line that begins with "{" is a JSON object with at least `id` or `title`; other fields are ignored. Any other line
    is a title.

    Raises:
        UsageError: a line is not UTF-8, or no such object; the message says which line.
    """
    interactions = []
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as e:
            raise UsageError(f"{where} is not UTF-8 (byte {e.start + 1})", hint="save the file as UTF-8") from e
        if text.startswith("{"):
            interactions.append(_from_json(text, where))
        elif text:
            interactions.append(Interaction(title=text))
    return interactions


def _from_json(text: str, where: str) -> Interaction:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{where} begins like JSON and is not: {e}", hint="one object a line") from e
    return interaction_of(value, where)


def interaction_of(value: Mapping[str, object], where: str) -> Interaction:
    """Return the interaction that an object with at least `id` or `title` means. `where` is used in messages.

    Raises:
        UsageError: it has neither, or a field that is neither text nor number as it should be.
    """
    title, item_id = (_text(value.get(field), f"{where}: {field}") for field in _TEXT_FIELDS)
    timestamp, rating = (_number(value.get(field), f"{where}: {field}") for field in _NUMBER_FIELDS)
    if title is None and item_id is None:
        raise UsageError(f"{where} has neither a title nor an id", hint='write {"title": "..."} or {"id": "..."}')
    return Interaction(title, item_id, timestamp, rating)


def _text(value: object, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{what} is {reprlib.repr(value)}", hint="write it as text")


def _number(value: object, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    raise UsageError(f"{what} is {reprlib.repr(value)}", hint="write it as a number")
