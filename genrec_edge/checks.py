"""What of a request can be wrong before anything is looked up or computed."""

from __future__ import annotations

import math
import reprlib
import threading
from typing import TYPE_CHECKING, TypeVar, get_args

from genrec_edge.errors import UsageError
from genrec_edge.records import Decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genrec_edge.records import Request

_Entry = TypeVar("_Entry")


def listed(name: str, entries: Iterable[_Entry]) -> tuple[_Entry, ...]:
    """Return entries as a tuple, and refuse a single text, which Python would read letter by letter."""
    if isinstance(entries, str):
        raise UsageError(
            f"{name} is the text {reprlib.repr(entries)}, not a list of titles",
            hint="put it in square brackets",
        )
    return tuple(entries)


def check(request: Request, timeout_s: float | None) -> None:
    """Raise UsageError where a number or a choice of a request is out of range."""
    if request.k < 1:
        raise UsageError(f"{request.k} items cannot be recommended", hint="give -k a number of at least 1")
    if request.decode not in get_args(Decode):
        raise UsageError(f"unknown way to decode {request.decode!r}", hint=f"known: {', '.join(get_args(Decode))}")
    if not 0 <= request.temperature < math.inf:
        raise UsageError(f"temperature {request.temperature} is out of range", hint="give 0 or a positive number")
    if request.seed < 0:
        raise UsageError(f"the seed {request.seed} is out of range", hint="give 0 or a positive number")
    if request.min_rating is not None and math.isnan(request.min_rating):
        raise UsageError("the lowest rating is not a number")
    if timeout_s is not None and not 0 <= timeout_s <= threading.TIMEOUT_MAX:
        raise UsageError(f"a time limit of {timeout_s} s is out of range", hint="give 0 or a positive number")
    if bad := [item_id for item_id, value in request.bias.items() if not math.isfinite(value)]:
        raise UsageError(f"the bias of item {bad[0]!r} is not a finite number", hint="use exclude to forbid an item")
