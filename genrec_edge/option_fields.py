"""Dataclass fields that are options: what they say of themselves, and what follows from it.

Knows no option by name; `options.py` declares them.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from dataclasses import Field, dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, get_args, get_origin

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_Parameters = ParamSpec("_Parameters")
_Self = TypeVar("_Self")
_Record = TypeVar("_Record")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Option:
    """What a field says of itself beside its type and default.

    Attributes:
        help: what it means, in a sentence.
        flag: its names on the command line, with spaces between; "" makes "--a-b" of a field a_b, None leaves it out.
        metavar: what stands for the value in help texts.
        least: the smallest number that makes sense; numbers with a least have to be finite.
        most: the largest one.
        per_user: whether each row of a batch may say it.
    """

    help: str
    flag: str | None = ""
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    per_user: bool = True


def option(text: str, **details: Any) -> Mapping[str, Option]:
    """Return the metadata of a field: an `Option` with these details."""
    return {"option": Option(text, **details)}


def option_of(declared: Field[Any]) -> Option:
    """Return what a field of one of the records says of itself."""
    found: Option = declared.metadata["option"]
    return found


@functools.cache
def types_of(record: type) -> Mapping[str, Any]:
    """Return the type of each field; an optional one without its None."""
    return {name: _without_none(hint) for name, hint in typing.get_type_hints(record).items() if name != "_"}


def field_help(record: type) -> Mapping[str, str]:
    """Return what each field of a record of options means."""
    return {declared.name: option_of(declared).help for declared in fields(record)}


def check_options(record: Any) -> None:
    """Raise UsageError where a number of a record of options is out of range, or a choice is not known."""
    of: type = type(record)
    hints = types_of(of)
    for declared in fields(record):
        value, hint = getattr(record, declared.name), hints[declared.name]
        if value is None and declared.default is None:
            continue
        if get_origin(hint) is Literal:
            _check_choice(declared.name, value, get_args(hint))
        elif hint in {int, float} or _is_number(value):
            _check_number(declared.name, value, option_of(declared))


def _check_choice(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"`{name}` must be one of {', '.join(known)}, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_number(name: str, value: Any, about: Option) -> None:
    # A whole number may be larger than any float, and is never nan.
    if not _is_number(value) or (not isinstance(value, Integral) and math.isnan(value)):
        raise UsageError(f"`{name}` must be a number, got {value!r}")
    if about.least is not None and (value < about.least or value == math.inf):
        finite = "finite and " if value == math.inf else ""
        raise UsageError(f"`{name}` must be {finite}at least {about.least:g}, got {value}")
    if about.most is not None and value > about.most:
        raise UsageError(f"`{name}` must be at most {about.most:g}, got {value}")


def arguments_of(
    record: Callable[_Parameters, _Record],
) -> Callable[[Callable[[_Self, _Record], _Result]], Callable[Concatenate[_Self, _Parameters], _Result]]:
    """Let a method that takes a record be called with the record's fields as its arguments, typed as they are."""

    def decorate(
        method: Callable[[_Self, _Record], _Result],
    ) -> Callable[Concatenate[_Self, _Parameters], _Result]:
        @functools.wraps(method)
        def call(self: _Self, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            return method(self, record(*args, **kwargs))

        own = inspect.signature(method)
        first = next(iter(own.parameters.values()))
        options = inspect.signature(record).parameters.values()
        call.__signature__ = own.replace(parameters=[first, *options])  # type: ignore[attr-defined]
        return call

    return decorate


def _without_none(hint: Any) -> Any:
    if get_origin(hint) not in {typing.Union, types.UnionType}:
        return hint
    others = [member for member in get_args(hint) if member is not types.NoneType]
    return others[0] if len(others) == 1 else functools.reduce(lambda a, b: a | b, others)
