"""The command line: one thin file per verb, and the one place where errors become a line and an exit code.

Commands import what they need inside their bodies, so `genrec-edge --help` loads neither llama.cpp nor SQLite helpers.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from genrec_edge import __version__
from genrec_edge.cli.bench import bench
from genrec_edge.cli.catalog import catalog_app
from genrec_edge.cli.models import models_app
from genrec_edge.cli.output import emit_json
from genrec_edge.cli.recommend import recommend
from genrec_edge.cli.resolve import resolve
from genrec_edge.errors import GenRecError
from genrec_edge.titles import printable

_PIPE_EXIT = 141
_INTERRUPT_EXIT = 130


class _Commands(TyperGroup):
    """Turns every expected error below it into one line on stderr (or one JSON object) and its exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own signature
        try:
            return super().invoke(ctx)
        except GenRecError as error:
            if os.environ.get("GENREC_EDGE_DEBUG"):
                traceback.print_exc()
            _report(error)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            # The reader has gone; what is still buffered must not raise again when Python closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_PIPE_EXIT) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(_INTERRUPT_EXIT) from None


def _report(error: GenRecError) -> None:
    if "--json" in sys.argv:
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


def _version(value: bool) -> None:  # noqa: FBT001 - Typer's own signature
    if value:
        typer.echo(f"genrec-edge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,  # noqa: FBT002
) -> None:
    pass


app.command()(recommend)
app.command()(resolve)
app.command()(bench)
app.add_typer(catalog_app, name="catalog")
app.add_typer(models_app, name="models")


def main() -> None:
    """Run the command line."""
    app()
