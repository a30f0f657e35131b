"""`genrec-edge train`: histories in, a LoRA adapter out."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrec_edge.cli.common_options import Json, Quiet, Threads
from genrec_edge.cli.output import console_err, emit_json, needs_extra, print_table, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from genrec_edge.convert.training.job import TrainJob
    from genrec_edge.convert.training.memory_plan import MemoryPlan
    from genrec_edge.convert.training.state import Progress
    from genrec_edge.convert.training.trainer import TrainingResult

TRAIN_SCHEMA = "genrec-edge/train@1"
_LINE_EVERY = 25


def train(
    *,
    data: Annotated[str, typer.Option(metavar="NAME|DIR", help="A data set: see genrec-edge data.")],
    base: Annotated[Path, typer.Option(metavar="BASE", help="A Hugging Face folder, or a .gguf file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The adapter's folder to make.")],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="The recipe; models/recipes/*.toml describe every key.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(metavar="NAME", help="A recipe of the package, such as genrec.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run left.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the memory plan, and train nothing.")] = False,
    n_threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tune a LoRA adapter on histories written as titles, with the search's own score as the loss."""
    with needs_extra("train"):
        from genrec_edge.convert.training.job import TrainJob, open_inputs  # noqa: PLC0415
        from genrec_edge.convert.training.memory_plan import memory_plan  # noqa: PLC0415
        from genrec_edge.convert.training.recipe_reader import find_recipe  # noqa: PLC0415
        from genrec_edge.datasets.ratings import left_out_note  # noqa: PLC0415
    is_main = os.environ.get("RANK", "0") == "0"  # of the processes of `accelerate launch`; the others say nothing
    quiet = quiet or not is_main
    job = TrainJob(data, base, out, find_recipe(config, recipe), n_threads)
    inputs = open_inputs(job)
    plan = memory_plan(job.recipe, inputs.base)
    if dry_run:
        _show_plan(plan, json=json)
        return
    if (min_rating := job.recipe.data.min_rating) > -math.inf:
        say(left_out_note(inputs.dataset, min_rating), quiet=quiet)
    say(_sentence(plan), quiet=quiet)
    with needs_extra("train"):
        from genrec_edge.convert.training.loop import train as run  # noqa: PLC0415 - seconds of imports
    with _bar(quiet=quiet) as on_step:
        trained = run(job, inputs, resume=resume, on_step=on_step)
    if is_main:
        _show(trained, job, json=json, quiet=quiet)


def _sentence(plan: MemoryPlan) -> str:
    shown = ", ".join(f"{name} {n_bytes / 1e6:,.0f} MB" for name, n_bytes in _parts(plan).items())
    return f"memory about {plan.total / 1e6:,.0f} MB on the {plan.device}: {shown}"


def _parts(plan: MemoryPlan) -> dict[str, int]:
    parts = {"weights": plan.weights, "adapter": plan.adapter, "activations": plan.activations, "logits": plan.logits}
    return {"libraries": plan.libraries, **parts} if plan.device == "host" else parts


def _show_plan(plan: MemoryPlan, *, json: bool) -> None:
    if json:
        needs = {**_parts(plan), "total": plan.total}
        emit_json(TRAIN_SCHEMA, {"dry_run": True, "device": plan.device, "memory_bytes": needs})
    else:
        typer.echo(_sentence(plan))


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[Progress, int], None]]:
    """Yield a function to call after every step; without a terminal it prints a line now and then."""
    if quiet:
        yield lambda _progress, _total: None
        return
    if not console_err().is_terminal:
        yield _print_line
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bar(*columns, console=console_err(), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda progress, total: bar.update(
            task, total=total, completed=progress.events, description=_state(progress)
        )


def _print_line(progress: Progress, total: int) -> None:
    if progress.step % _LINE_EVERY == 0 or progress.events >= total:
        say(f"step {progress.step}, {progress.events / total:.1%}: {_state(progress)}")


def _state(progress: Progress) -> str:
    recent = progress.log[-_LINE_EVERY:]
    nats = sum(entry["nats"] for entry in recent) / len(recent)
    speed = sum(entry["tokens"] for entry in recent) / sum(entry["seconds"] for entry in recent)
    last = progress.validations[-1] if progress.validations else {}
    ndcg = f", validation NDCG@10 {last['ndcg@10']:.4f}" if "ndcg@10" in last else ""
    return f"{nats:.3f} nats a title, {speed:,.0f} tokens/s{ndcg}"


def _show(trained: TrainingResult, job: TrainJob, *, json: bool, quiet: bool) -> None:
    progress = trained.progress
    if json:
        counts = {"steps": progress.step, "events": progress.events}
        seen = {"looks": progress.validations, "stopped_early": trained.stopped_early}
        emit_json(TRAIN_SCHEMA, {"out": str(trained.out), **counts, **seen})
        return
    validations = [entry for entry in progress.validations if "ndcg@10" in entry]
    if validations:
        rows = [
            (entry["step"], f"{entry['events']:,}", f"{entry['hr@10']:.4f}", f"{entry['ndcg@10']:.4f}")
            for entry in validations
        ]
        columns = ("step", "titles", "HR@10", "NDCG@10")
        print_table(columns, rows, right=columns)
    if trained.stopped_early:
        say("stopped early: validation did not become better any more", quiet=quiet)
    typer.echo(trained.out)
    options = f"--base {job.base} --adapter {trained.out} --quant Q8_0 --out MODEL --license SPDX"
    say(f"next: genrec-edge convert {options}", quiet=quiet)
