"""What of a request can be wrong before anything is looked up or computed."""

from __future__ import annotations

import math
import reprlib
from dataclasses import fields, replace
from numbers import Real
from typing import TYPE_CHECKING, TypeVar

from genrec_edge.errors import UsageError
from genrec_edge.option_fields import check_options
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genrec_edge.options import Request

_Entry = TypeVar("_Entry")
_NUMBERS = ("timestamp", "rating", "year")
_N_CANDIDATES = {"pointwise": (1, "one item"), "pairwise": (2, "two items")}


def listed(name: str, entries: Iterable[_Entry]) -> tuple[_Entry, ...]:
    """Return entries as a tuple, and refuse a single text, which Python would read letter by letter."""
    if isinstance(entries, str):
        raise UsageError(
            f"`{name}` must be a list of titles, got the text {reprlib.repr(entries)}",
            hint="put it in square brackets",
        )
    found = tuple(entries)
    for entry in found:
        _check_entry(name, entry)
    return found


def _check_entry(name: str, entry: object) -> None:
    """Refuse what is neither a title nor an interaction with texts and finite numbers where they belong."""
    if isinstance(entry, str):
        return
    if not isinstance(entry, Interaction):
        raise UsageError(
            f"`{name}` holds {reprlib.repr(entry)}, which is neither a title nor an Interaction",
            hint='write Interaction(title="Heat", year=1995), or the title alone',
        )
    for field in fields(entry):
        value = getattr(entry, field.name)
        is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not (is_number if field.name in _NUMBERS else isinstance(value, str)):
            kind = "a finite number" if field.name in _NUMBERS else "a text"
            raise UsageError(f"`{name}` holds an Interaction whose {field.name} is {reprlib.repr(value)}, not {kind}")


def checked(request: Request) -> Request:
    """Return a request whose lists are tuples and whose absent mappings are empty.

    Raises:
        UsageError: a number is out of range, a choice is unknown, or options contradict each other.
    """
    check_options(request)
    request = replace(
        request,
        history=listed("history", request.history),
        exclude=listed("exclude", request.exclude),
        candidates=None if request.candidates is None else listed("candidates", request.candidates),
        context={} if request.context is None else request.context,
        bias={} if request.bias is None else request.bias,
    )
    if bad := [item_id for item_id, nats in request.bias.items() if not math.isfinite(nats)]:
        raise UsageError(
            f"`bias` must hold finite numbers, got {request.bias[bad[0]]} for the item {bad[0]!r}",
            hint="use `exclude` to forbid an item",
        )
    for name, text in (("preference", request.preference), ("intent", request.intent)):
        if text is not None and not text.strip():
            raise UsageError(f"`{name}` must not be empty", hint="leave it out, or say something")
    _check_task(request)
    return request


def _check_task(request: Request) -> None:
    """Raise UsageError where a task does not have the candidates that it is about."""
    n = None if request.candidates is None else len(request.candidates)
    if request.task in _N_CANDIDATES and n != _N_CANDIDATES[request.task][0]:
        given = "none" if n is None else n
        raise UsageError(
            f"a {request.task} question needs {_N_CANDIDATES[request.task][1]} as `candidates`, got {given}"
        )
    if request.task == "reranking" and not n:
        raise UsageError("`candidates` must name the items to rerank, got none", hint="name at least one")
    if request.task != "matching" and request.decode != "exact":
        raise UsageError(f"`decode` must be exact for a {request.task} question, got {request.decode!r}")
