"""What of a request can be wrong before anything is looked up or computed."""

from __future__ import annotations

import math
import reprlib
import threading
from typing import TYPE_CHECKING, TypeVar, get_args

from genrec_edge.errors import UsageError
from genrec_edge.records import Decode, Task

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
    _check_task(request)
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


_CANDIDATES = {"pointwise": (1, "one item"), "pairwise": (2, "two items")}


def _check_task(request: Request) -> None:
    """Raise UsageError where a task does not have the candidates that it is about."""
    if request.task not in get_args(Task):
        raise UsageError(f"unknown task {request.task!r}", hint=f"known: {', '.join(get_args(Task))}")
    n = None if request.candidates is None else len(request.candidates)
    if request.task in _CANDIDATES and n != _CANDIDATES[request.task][0]:
        wanted, given = _CANDIDATES[request.task][1], "none" if n is None else n
        raise UsageError(f"a {request.task} question is about {wanted}, and {given} are given as candidates")
    if request.task == "reranking" and not n:
        raise UsageError("there are no candidates to rerank", hint="name at least one")
    if request.task != "matching" and request.decode != "exact":
        raise UsageError(f"decode {request.decode!r} is a way to search, and a {request.task} question has no search")
    for name, text in (("preference", request.preference), ("intent", request.intent)):
        if text is not None and not text.strip():
            raise UsageError(f"the {name} is empty", hint="leave it out, or say something")
