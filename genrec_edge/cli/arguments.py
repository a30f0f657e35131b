"""Command-line options out of the fields of an options record, so that no command lists them again."""

from __future__ import annotations

import functools
import inspect
from collections import abc
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import typer

from genrec_edge.errors import UsageError
from genrec_edge.option_fields import option_of, types_of

_Command = TypeVar("_Command", bound=Callable[..., None])


def takes(record: type, names: str = "", *, into: str) -> Callable[[_Command], _Command]:
    """Give a command the options of a record's fields; it is called with one record as its argument `into`.

    Args:
        record: `options.Request`, `options.OpenOptions` or `cli.history.HistoryOptions`.
        names: the fields, with spaces between; all that have a flag where it is empty.
        into: which argument of the command gets the record.
    """
    hints = types_of(record)
    chosen = [field for field in fields(record) if option_of(field).flag is not None]
    if names:
        by_name = {field.name: field for field in chosen}
        chosen = [by_name[name] for name in names.split()]

    def decorate(command: _Command) -> _Command:
        own = inspect.signature(command, eval_str=True)

        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            values = {field.name: arguments.pop(field.name) for field in chosen}
            given = {name: _value(hints[name], value) for name, value in values.items() if value is not None}
            command(**{into: record(**given)}, **arguments)

        added = [_parameter(record, field) for field in chosen]
        kept = [parameter for parameter in own.parameters.values() if parameter.name != into]
        first = next(
            (i for i, p in enumerate(kept) if p.kind is p.KEYWORD_ONLY and p.default is not p.empty), len(kept)
        )
        parameters = [*kept[:first], *added, *kept[first:]]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run  # type: ignore[return-value]

    return decorate


def _parameter(record: type, field: Field[Any]) -> inspect.Parameter:
    """Return the parameter that Typer makes an option of."""
    about, hint = option_of(field), types_of(record)[field.name]
    default: Any = None if field.default is MISSING else field.default
    if get_origin(hint) in {abc.Sequence, abc.Mapping}:
        hint, default = list[str] | None, None
    elif default is None:
        hint = _first_type(hint) | None
    flags = (about.flag or f"--{field.name.replace('_', '-')}").split()
    if default is True:
        flags = [f"{flags[0]}/--no-{flags[0].removeprefix('--')}"]
    annotation: Any = Annotated[hint, typer.Option(*flags, metavar=about.metavar, help=about.help)]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _first_type(hint: Any) -> Any:
    """Return the first type of a union, a choice between words as it is."""
    return get_args(hint)[0] if get_origin(hint) in {Union, UnionType} else hint


def _value(hint: Any, value: Any) -> Any:
    """Return what the command line has read as the field has it."""
    if get_origin(hint) is abc.Mapping:
        return dict(_name_and_words(entry) for entry in value)
    return tuple(value) if get_origin(hint) is abc.Sequence else value


def _name_and_words(entry: str) -> tuple[str, str]:
    name, equals, words = entry.partition("=")
    if not (name.strip() and equals and words.strip()):
        raise UsageError(f"the context {entry!r} is not NAME=WORDS", hint='write it like "when=Sunday evening"')
    return name.strip(), words
