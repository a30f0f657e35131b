"""Commands and groups as Typer makes them, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from genrec_edge.catalog.titles import printable
from genrec_edge.cli import interrupts
from genrec_edge.cli.library_warnings import shown_warnings
from genrec_edge.cli.output import emit_json
from genrec_edge.errors import CancelledError, DiskError, DiskFullError, GenRecError, OutOfMemoryError, UsageError
from genrec_edge.storage.process_memory import no_room_error, require_room_to_start

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PIPE_EXIT = 141
_JSON = "genrec_edge.json"
_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)`")


class Command(TyperCommand):
    """Says errors of the library in the words of the command line: `prior_weight` is --prior-weight there."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        try:
            with shown_warnings(quiet=bool(ctx.params.get("quiet"))):
                return super().invoke(ctx)
        except GenRecError as error:
            said = " ".join(map(str, ctx.params.values()))  # what the caller wrote is shown as it was written
            named = {param.name.removesuffix("_"): _shown(param) for param in self.params}
            names = {name: option for name, option in named.items() if f"`{name}`" not in said}
            error.message, error.hint = in_options(error.message, names), in_options(error.hint, names)
            raise


class Group(TyperGroup):
    """Turns every expected error below it into one line on stderr (or one JSON object) and its exit code."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:  # noqa: D102
        given = sys.argv[1:] if args is None else list(args)
        standalone = options.pop("standalone_mode", True)
        try:
            exit_code = super().main(given, *more, **{**options, "standalone_mode": False}) or 0
            _flush()
        except Exception as error:
            exit_code = _ended(error, command=_named(self, given), as_json=wants_json(given))
        if interrupts.came() or exit_code == interrupts.EXIT_CODE:
            interrupts.say()
            exit_code = interrupts.EXIT_CODE
        if standalone:
            sys.exit(exit_code)
        return exit_code

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: D102
        with _closed_pipe_is_an_exit_code():  # --help and --version print here
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        require_room_to_start()
        with _closed_pipe_is_an_exit_code():
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102
        ctx.meta[_JSON] = wants_json(args)  # for --version, which is read before what follows it
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def wants_json(given: Any) -> bool:
    """Whether a command line, or the one of a context, asks for JSON; known before it is understood."""
    if isinstance(given, list):
        options = given[: given.index("--")] if "--" in given else given
        return any(option == "--json" or option.startswith("--json=") for option in options)
    return bool(given.meta[_JSON])


def use_commands(app: typer.Typer) -> None:
    """Have every command of an app and of the apps below it be a `Command`."""
    for info in app.registered_commands:
        info.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            use_commands(group.typer_instance)


def in_options(text: str, names: Mapping[str, str]) -> str:
    """Return a message of the library with the arguments it names in backticks as the options of a command.

    >>> in_options("`prior_weight` must be a number", {"prior_weight": "--prior-weight"})
    '--prior-weight must be a number'
    """
    return _ARGUMENT.sub(lambda match: names.get(match[1], match[0]), text)


def _shown(param: Any) -> str:
    """Return how a parameter is written: the long option, or the name of an argument without one."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    return str(max(param.opts, key=lambda name: name.startswith("--")))


@contextmanager
def _closed_pipe_is_an_exit_code() -> Iterator[None]:
    """End with 141 where the reader of stdout has gone. Typer would end with 1."""
    try:
        yield
        _flush()
    except BrokenPipeError:
        _drop_output()
        raise typer.Exit(_PIPE_EXIT) from None


def _flush() -> None:
    """Write what is still buffered, so that a full disk is an error of the command."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
        raise


def _drop_output() -> None:
    """Send to nowhere what is still buffered, which would raise again when Python closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ended(error: Exception, *, command: str, as_json: bool) -> int:
    """Report what ended a command, and return its exit code. Nothing that follows Ctrl-C is reported.

    Raises:
        Exception: `error` itself, if it is a bug.
    """
    if interrupts.came():
        return interrupts.EXIT_CODE
    if os.environ.get("GENREC_EDGE_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, TyperException) and error.message.startswith("Usage: "):
        typer.echo(error.message, err=True)  # a group without a command shows its help
        return error.exit_code
    found = _wrong_call(error, command) if isinstance(error, TyperException) else _expected(error)
    try:
        if as_json and found is not None:
            _emit_error(found.code, found.exit_code, found.message, found.hint)
        elif as_json:
            _emit_error("bug", 1, f"{type(error).__name__}: {error}", "report it with what stands on stderr")
    except OSError as e:
        _drop_output()
        if isinstance(e, BrokenPipeError):
            return _PIPE_EXIT
        found, as_json = _expected(e) or found, False
    if found is None:
        raise error
    if not as_json and not isinstance(found, CancelledError):
        hint = f"; {found.hint}" if found.hint else ""
        with suppress(OSError):  # nobody can read it; the exit code stands
            typer.echo(f"error: {printable(found.message + hint)}", err=True)
    return found.exit_code


def _emit_error(code: str, exit_code: int, message: str, hint: str) -> None:
    emit_json("genrec-edge/error@1", {"error": {"code": code, "exit": exit_code, "message": message, "hint": hint}})
    sys.stdout.flush()


def _expected(error: Exception) -> GenRecError | None:
    """Return the error of ours that stands for one of the system or of memory; None for a bug."""
    if isinstance(error, GenRecError):
        return error
    if isinstance(error, typer.Abort):
        return CancelledError("the command was cancelled")
    if isinstance(error, MemoryError):
        return OutOfMemoryError("there is not enough memory for this", hint="close other programs, or ask for less")
    if no_room := no_room_error(error):
        return no_room
    return _of_system(error) if isinstance(error, OSError) else None


def _of_system(error: OSError) -> GenRecError | None:
    if error.errno == errno.ENOSPC:
        what = "the output" if error.filename is None else os.fsdecode(error.filename)
        return DiskFullError(f"cannot write {what}: no space is left on the device")
    if error.errno == errno.EIO:
        return DiskError(f"a disk failed: {error}")
    if error.filename is None:
        return None
    message = f"{os.fsdecode(error.filename)} cannot be used ({error.strerror or error})"
    return UsageError(message, hint="check its name and the permissions of its folder")


def _wrong_call(error: TyperException, command: str) -> UsageError:
    """Return what Typer says of a call that it does not understand, in one sentence."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    text = (
        text.replace(": Input should be", ": it should be")
        .replace(": Value error, ", ": ")
        .partition(", unable to parse")[0]
    )
    return UsageError(text[:1].lower() + text[1:], hint=f"`{command} --help` lists what it takes")


def _named(group: Any, arguments: Sequence[str]) -> str:
    """Return the command that a command line names, such as "genrec-edge catalog build", as far as there is one."""
    words, command = ["genrec-edge"], group
    for word in arguments:
        if word in getattr(command, "commands", {}):
            words, command = [*words, word], command.commands[word]
    return " ".join(words)
