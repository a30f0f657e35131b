"""The command line: one thin file per verb. `commands` turns errors into a line and an exit code.

Commands import what they need inside their bodies, so `genrec-edge --help` loads neither llama.cpp nor SQLite helpers.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from genrec_edge._version import __version__
from genrec_edge.cli.batch import batch
from genrec_edge.cli.bench import bench
from genrec_edge.cli.catalog import catalog_app
from genrec_edge.cli.commands import Group, use_commands
from genrec_edge.cli.convert import convert
from genrec_edge.cli.data import data_app
from genrec_edge.cli.describe import describe, queries
from genrec_edge.cli.evaluate import evaluate
from genrec_edge.cli.inspect import inspect
from genrec_edge.cli.judge import compare, judge
from genrec_edge.cli.models import models_app
from genrec_edge.cli.prior import prior_app
from genrec_edge.cli.profile import profile_app
from genrec_edge.cli.recommend import recommend
from genrec_edge.cli.rerank import rerank
from genrec_edge.cli.resolve import resolve
from genrec_edge.cli.train import train
from genrec_edge.cli.verdicts import verdicts

_STDERR = 2

app = typer.Typer(
    name="genrec-edge",
    cls=Group,
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
use_commands(app)


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
