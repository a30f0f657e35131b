"""Commands and groups as Typer makes them, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.output import emit_json
from genrec_edge.errors import DiskError, DiskFullError, GenRecError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PIPE_EXIT = 141
_INTERRUPT_EXIT = 130
_JSON = "genrec_edge.json"
_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)`")


class Command(TyperCommand):
    """Says errors of the library in the words of the command line: `prior_weight` is --prior-weight there."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        try:
            return super().invoke(ctx)
        except GenRecError as error:
            said = " ".join(map(str, ctx.params.values()))  # what the caller wrote is shown as it was written
            named = {param.name.removesuffix("_"): _shown(param) for param in self.params}
            names = {name: option for name, option in named.items() if f"`{name}`" not in said}
            error.message, error.hint = in_options(error.message, names), in_options(error.hint, names)
            raise


class Group(TyperGroup):
    """Turns every expected error below it into one line on stderr (or one JSON object) and its exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        try:
            try:
                result = super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except GenRecError as error:
            if os.environ.get("GENREC_EDGE_DEBUG"):
                traceback.print_exc()
            _report(error, as_json=ctx.meta[_JSON])
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            _drop_output()
            raise typer.Exit(_PIPE_EXIT) from None
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EIO}:
                raise
            _drop_output()
            found: GenRecError = DiskFullError("cannot write the output: no space is left on the device")
            if error.errno == errno.EIO:
                found = DiskError(f"a disk failed: {error}")
            _report(found, as_json=False)
            raise typer.Exit(found.exit_code) from error
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(_INTERRUPT_EXIT) from None
        return result

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102
        ctx.meta[_JSON] = "--json" in args  # the commands below have parsed nothing yet when they fail
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


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


def _drop_output() -> None:
    """Send to nowhere what is still buffered, which would raise again when Python closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: GenRecError, *, as_json: bool) -> None:
    if as_json:
        details = {"code": error.code, "exit": error.exit_code, "message": error.message, "hint": error.hint}
        emit_json("genrec-edge/error@1", {"error": details})
        return
    hint = f"; {error.hint}" if error.hint else ""
    typer.echo(f"error: {printable(error.message + hint)}", err=True)
