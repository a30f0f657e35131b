"""The command line: one thin file per verb, and the one place where errors become a line and an exit code.

Commands import what they need inside their bodies, so `genrec-edge --help` loads neither llama.cpp nor SQLite helpers.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from genrec_edge._version import __version__
from genrec_edge.catalog.titles import printable
from genrec_edge.cli.batch import batch
from genrec_edge.cli.bench import bench
from genrec_edge.cli.catalog import catalog_app
from genrec_edge.cli.convert import convert
from genrec_edge.cli.data import data_app
from genrec_edge.cli.describe import describe, queries
from genrec_edge.cli.evaluate import evaluate
from genrec_edge.cli.inspect import inspect
from genrec_edge.cli.judge import compare, judge
from genrec_edge.cli.models import models_app
from genrec_edge.cli.output import emit_json
from genrec_edge.cli.prior import prior_app
from genrec_edge.cli.profile import profile_app
from genrec_edge.cli.recommend import recommend
from genrec_edge.cli.rerank import rerank
from genrec_edge.cli.resolve import resolve
from genrec_edge.cli.train import train
from genrec_edge.cli.verdicts import verdicts
from genrec_edge.errors import DiskError, DiskFullError, GenRecError

_PIPE_EXIT = 141
_INTERRUPT_EXIT = 130
_STDERR = 2
_JSON = "genrec_edge.json"


class _Commands(TyperGroup):
    """Turns every expected error below it into one line on stderr (or one JSON object) and its exit code."""

    def invoke(self, ctx: Any) -> Any:
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

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_JSON] = "--json" in args  # the commands below have parsed nothing yet when they fail
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


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


app = typer.Typer(
    name="genrec-edge",
    cls=_Commands,
    help="Private, offline, exact recommendations from a small language model over your own catalog.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=True,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"genrec-edge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(recommend)
app.command()(batch)
app.command()(rerank)
app.command()(judge)
app.command()(compare)
app.command()(describe)
app.command()(queries)
app.command()(resolve)
app.command()(bench)
app.command()(inspect)
app.command()(convert)
app.command()(train)
app.command()(evaluate)
app.command()(verdicts)
app.add_typer(catalog_app, name="catalog")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(prior_app, name="prior")
app.add_typer(profile_app, name="profile")


def main() -> None:
    """Run the command line."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a table is readable in any encoding
    app()


def _open_standard_streams() -> None:
    """Open those the caller closed on nothing: else the next file opened would be taken for one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(_STDERR, "w", encoding="utf-8")  # noqa: SIM115
