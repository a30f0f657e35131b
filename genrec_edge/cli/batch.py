"""`genrec-edge batch`: a file of users in, a row of recommendations for each of them out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import Json, Offline, Quiet
from genrec_edge.cli.output import Bars, catalog_path, emit_json, needs_extra, say, share_bar, title_bar
from genrec_edge.cli.users_bar import users_bar
from genrec_edge.errors import NothingToRecommendError, UsageError
from genrec_edge.options import OpenOptions, Request

if TYPE_CHECKING:
    from genrec_edge.batch.runner import ChunkEngine

SCHEMA = "genrec-edge/batch@1"

EngineKind = Literal["local", "ray"]


_SHARED = "k where exclude candidates allow_seen min_rating intent intent_where context"
"""Options that may be given for all users at once."""
_OPENING = "model adapter catalog score prior prior_kind prior_weight calibrate budget n_ctx"


@takes(Request, _SHARED, into="request")
@takes(OpenOptions, _OPENING, into="options")
def batch(
    *,
    users: Annotated[
        Path, typer.Argument(metavar="USERS", help="A user a row: .jsonl, .jsonl.gz or .parquet; see docs/cli.md.")
    ],
    out_path: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A row for each user, in order: .jsonl or .parquet.")
    ],
    request: Request,
    options: OpenOptions,
    engine: Annotated[EngineKind, typer.Option(help="Processes of this machine, or Ray Data.")] = "local",
    n_workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Processes or actors; as many as there are CPUs for."),
    ] = None,
    n_threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, help="CPU threads of each; the CPUs shared out, of Ray 1."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Of a Ray cluster; without it, Ray runs on this machine.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace FILE, and throw away what another job has begun of it.")
    ] = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Recommend for a whole file of users; what a killed run had finished is not done again."""
    if address is not None and engine != "ray":
        raise UsageError("`address` names a Ray cluster", hint="set `engine` to ray, too")
    with ExitStack() as extras:
        if engine == "ray":
            extras.enter_context(needs_extra("ray"))
        if ".parquet" in {users.suffix, out_path.suffix}:
            extras.enter_context(needs_extra("parquet"))
        from genrec_edge.batch import prepare, runner, worker  # noqa: PLC0415
        from genrec_edge.cli.models import ensure_model  # noqa: PLC0415
        from genrec_edge.serving.validate import checked  # noqa: PLC0415

        common = checked(request)
        model_file = ensure_model(options.model, offline=offline, quiet=quiet)
        setup = worker.WorkerSetup(
            replace(
                options,
                model=model_file.path.absolute(),
                catalog=catalog_path(options.catalog, quiet=quiet).absolute(),
                adapter=_absolute(options.adapter),
                prior=_absolute(options.prior),
            ),
            model_file.manifest,
        )
        with title_bar(quiet=quiet) as on_title, Bars({"hash": "hashing the model"}, quiet=quiet) as bars:
            on_bytes = bars.counter("hash", model_file.path.stat().st_size)
            setup = prepare.prepare_setup(setup, on_title=on_title, on_bytes=on_bytes)
        with ExitStack() as stack:
            on_read = stack.enter_context(share_bar("reading users", quiet=quiet))
            on_user = stack.enter_context(users_bar(2, quiet=quiet))
            summary = runner.run(
                users,
                out_path,
                setup,
                _engine(engine, n_workers, n_threads, address),
                common,
                force=force,
                on_read=on_read,
                on_user=on_user,
                on_note=lambda note: say(printable(note), quiet=quiet),
            )
    answered = summary.users - summary.failed
    if json:
        emit_json(SCHEMA, {"out": str(out_path), **asdict(summary)})
    else:
        resumed = f", {summary.resumed:,} of them before" if summary.resumed else ""
        typer.echo(printable(f"{out_path}: {answered:,} of {summary.users:,} users answered{resumed}"))
    if summary.failed:
        if not (json or quiet):
            typer.echo(f"rows with an error instead of items: {summary.failed:,}", err=True)
        raise typer.Exit(NothingToRecommendError.exit_code)


def _absolute(path: str | Path | None) -> Path | None:
    """Return a path that workers in other folders find, too."""
    return None if path is None else Path(path).absolute()


def _engine(kind: EngineKind, workers: int | None, threads: int | None, address: str | None) -> ChunkEngine:
    """Return who answers; without numbers, the CPUs are shared out."""
    from genrec_edge.serving.config import default_threads  # noqa: PLC0415

    if kind == "ray":
        from genrec_edge.batch.ray import RayEngine  # noqa: PLC0415

        return RayEngine(address, workers, threads or 1)
    from genrec_edge.batch.local import LocalEngine  # noqa: PLC0415

    n_workers = workers or max(1, default_threads() // (threads or 1))
    return LocalEngine(n_workers, threads or max(1, default_threads() // n_workers))
