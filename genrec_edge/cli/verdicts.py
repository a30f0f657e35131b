"""`genrec-edge verdicts`: whether a model's yes means yes, and whether it prefers what users preferred."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import Json, Offline, Quiet
from genrec_edge.cli.event_options import MinRating, load_rated
from genrec_edge.cli.output import Bars, emit_json, needs_extra, print_table
from genrec_edge.errors import UsageError
from genrec_edge.gguf.training_keys import RECORD_NAME
from genrec_edge.options import OpenOptions
from genrec_edge.records import Ties
from genrec_edge.storage.files import atomic_write, path_errors

if TYPE_CHECKING:
    from genrec_edge.evaluation.judge_quality import JudgeQuality

SCHEMA = "genrec-edge/verdicts@1"
VALIDATION: Literal["validation"] = "validation"
TEST: Literal["test"] = "test"
"""What training leaves beside an adapter."""


@takes(OpenOptions, "model adapter n_threads n_ctx", into="options")
def verdicts(
    *,
    data: Annotated[str, typer.Option(metavar="NAME|DIR", help="A data set by its name, or its folder.")],
    options: OpenOptions,
    ties: Annotated[Ties, typer.Option(help="Order of equal timestamps.")] = "file",
    min_rating: MinRating = None,
    users: Annotated[int | None, typer.Option(metavar="N", min=20, help="A sample of the users; all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of samples and of the halves of the users.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Write a reliability diagram.")] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the line that calibrates into the record of this adapter folder."),
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask a model for verdicts on what users met next and on what they never met, and say how good they are."""
    if plot is not None:
        if plot.suffix.lower() != ".png":  # an older picture is replaced, and nothing else
            raise UsageError(f"{plot} must end in .png; its end says what is written")
        with needs_extra("convert"):
            from genrec_edge.evaluation.reliability_plot import write  # noqa: PLC0415 - before minutes of work
    if record is not None and not (record / RECORD_NAME).is_file():
        raise UsageError(f"{record} has no {RECORD_NAME}", hint="name the folder of an adapter that `train` made")
    from genrec_edge.cli.models import ensure_model  # noqa: PLC0415
    from genrec_edge.datasets.folder import CATALOG  # noqa: PLC0415
    from genrec_edge.datasets.splits import split_of  # noqa: PLC0415
    from genrec_edge.engine.build_info import build_info  # noqa: PLC0415
    from genrec_edge.evaluation.judge_quality import collect_margins, judge_quality_of  # noqa: PLC0415
    from genrec_edge.serving.session import Session  # noqa: PLC0415

    dataset = load_rated(data, min_rating, quiet=quiet)
    split = split_of(dataset, "leave-one-out", ties)
    options = replace(
        options,
        model=ensure_model(options.model, offline=offline, quiet=quiet),
        catalog=dataset.path / CATALOG,
        prior_kind="none",
    )
    with (
        Bars({"validation": "validation items", "test": "test items"}, quiet=quiet) as bars,
        Session.open(options) as session,
    ):
        fitted, measured = (
            collect_margins(session, dataset, split, target, users=users, seed=seed, on_user=bars.show)
            for target in (VALIDATION, TEST)
        )
    found = judge_quality_of(fitted, measured, seed=seed)
    if record is not None:
        _write_line(record / RECORD_NAME, found)
    if plot is not None:
        write(plot, found)
    if json:
        asked = {"data": dataset.name, "model": session.describe_model(), "ties": ties}
        emit_json(SCHEMA, {**asked, **found.to_json(), "machine": asdict(build_info())})
    else:
        _show(found)
        typer.echo(printable(str(build_info())))


def _write_line(path: Path, found: JudgeQuality) -> None:
    with path_errors(path):
        document = jsonlib.loads(path.read_text(encoding="utf-8"))
        document |= {"judge_slope": found.slope, "judge_offset": found.offset}
        with atomic_write(path) as file:
            file.write(jsonlib.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def _show(found: JudgeQuality) -> None:
    accuracy = found.accuracy
    rows = [
        ("users measured", f"{found.n_users:,}, none of whom the line was fitted on"),
        ("calibration error", f"{found.error:.3f} with the line, {found.raw_error:.3f} as the model says"),
        ("line", f"{found.slope:.3f} * margin {found.offset:+.3f}"),
        ("Brier score", f"{found.brier:.3f}"),
        ("AUC", f"{found.auc:.3f}"),
        ("pairs right", f"{accuracy.mean:.3f} ±{(accuracy.high - accuracy.low) / 2:.3f}, both orders asked"),
        ("", f"{found.accuracy_one_way:.3f} in one order"),
        ("answers that flip", f"{found.flips:.1%} with the order"),
    ]
    print_table(["verdicts", "value"], rows)
