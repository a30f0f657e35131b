"""All commands as one program.

Commands import what they need inside their bodies, so `genrec-edge --help` loads neither llama.cpp nor SQLite helpers.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from genrec_edge._version import __version__
from genrec_edge.cli.batch import batch
from genrec_edge.cli.bench import bench
from genrec_edge.cli.catalog import catalog_app
from genrec_edge.cli.commands import Group, use_commands, wants_json
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
from genrec_edge.errors import UsageError

app = typer.Typer(
    name="genrec-edge",
    cls=Group,
    help="Private, offline, exact recommendations from a small language model over your own catalog.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=True,
)


def _version(context: typer.Context, value: bool) -> None:
    if not value:
        return
    if wants_json(context):
        from genrec_edge.engine.build_info import build_info  # noqa: PLC0415 - loads llama.cpp

        emit_json("genrec-edge/version@1", asdict(build_info()))
    else:
        typer.echo(f"genrec-edge {__version__}")
    raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="With --version: the build of llama.cpp, the CPU and the versions.")
    ] = False,
) -> None:
    if json and not version:
        raise UsageError("--json stands before the command", hint="write it after the command")


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
