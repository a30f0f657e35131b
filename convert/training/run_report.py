"""The files beside a trained adapter: the record that `convert` reads, `run.json`, the log and a plot."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from genrec_edge._version import __version__
from genrec_edge.catalog import titles
from genrec_edge.convert.checkpoint.layers import format_layers
from genrec_edge.convert.training.job import ADAPTER_WEIGHTS
from genrec_edge.gguf.items_met import MOST_ITEMS, hash_of, to_text
from genrec_edge.gguf.training_keys import RECORD_NAME, filters_text
from genrec_edge.storage.files import atomic_write, file_identity, sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.training.data.bundle import TrainingData
    from genrec_edge.convert.training.job import TrainInputs, TrainJob
    from genrec_edge.convert.training.state import Progress

RUN_NAME, LOG_NAME, PLOT_NAME = "run.json", "log.jsonl", "training.png"
_SCHEMA = "genrec-edge/train@1"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy")
_SMOOTHED_STEPS = 25
"""Steps of the running mean in the plot."""


def identity(job: TrainJob, inputs: TrainInputs) -> dict[str, Any]:
    """Return what determines the result of a run, without reading the base's weights."""
    return {
        "tool_version": __version__,
        "data": dict(inputs.dataset.card),
        "base": [file_identity(path) for path in inputs.base.files],
        "recipe": job.recipe.document(),
        "from": _initial_adapter_sha256(job),
    }


def _initial_adapter_sha256(job: TrainJob) -> str | None:
    folder = job.recipe.base.adapter
    return sha256_file(Path(folder) / ADAPTER_WEIGHTS, lambda _n: None) if folder else None


def best_validation(progress: Progress) -> Mapping[str, float]:
    """Return the validation with the best NDCG@10, the first of several; without metrics, the only one there is."""
    return max(progress.validations, key=lambda entry: entry.get("ndcg@10", 0.0))


def record(job: TrainJob, base: Checkpoint, data: TrainingData, entry: Mapping[str, float]) -> dict[str, Any]:
    """Return the metadata of an adapter that `convert` copies into every GGUF made of it; scalars only.

    `entry` is the validation of this adapter.
    """
    recipe = job.recipe
    card: dict[str, Any] = dict(data.dataset.card)
    split = data.split.card() if data.split is not None else {"split": "all", "ties": recipe.data.ties}
    document: dict[str, Any] = {
        "tool_version": __version__,
        "score_kind": "vocabulary" if recipe.objective.kind == "vocabulary" else "catalog",
        "prompt": recipe.prompt,
        "history": recipe.data.window - 1,
        "objective": recipe.objective.kind,
        "distill": recipe.objective.distill,
        "seed": recipe.seed,
        "steps": int(entry["step"]),
        "events": int(entry["events"]),
        "data": str(card["name"]),
        "data_licence": str(card["licence"]),
        "data_sha256": str(card["interactions"]["sha256"]),
        "split": str(split["split"]),
        "ties": str(split["ties"]),
    }
    if data.dataset.filters:
        document["filters"] = filters_text(data.dataset.filters)
    met = items_met(data)
    if len(met) <= MOST_ITEMS:
        document["items_met"] = to_text(met)
    if recipe.base.layers:
        document |= {"layers": format_layers(base.config.layers), "layers_of": base.config.n_original_layers}
    if recipe.objective.kind == "residual":
        document["prior"] = "sequence" if recipe.objective.teacher == "sequence" else "mixture"
    return document | {key: float(value) for key, value in entry.items() if key not in {"step", "events"}}


def items_met(data: TrainingData) -> set[int]:
    """Return the hashes of the items of the histories that are trained on."""
    dataset = data.dataset
    items = np.unique(dataset.items if data.split is None else np.concatenate(data.split.train))
    return {hash_of(titles.key(title), year) for title, year in (dataset.titles[item] for item in items.tolist())}


def write_record(folder: Path, job: TrainJob, base: Checkpoint, data: TrainingData, entry: Mapping[str, float]) -> None:
    """Write the record beside an adapter."""
    _write_json(folder / RECORD_NAME, record(job, base, data, entry))


def write_run_files(
    folder: Path, job: TrainJob, base: Checkpoint, data: TrainingData, progress: Progress, n_processes: int
) -> set[str]:
    """Write `run.json`, the log and the plot of the whole run into `folder`, and return their names."""
    run = {
        "schema": _SCHEMA,
        "recipe": job.recipe.document(),
        "data": dict(data.dataset.card),
        "split": None if data.split is None else data.split.card(),
        "others": data.extra_titles_revision,
        "from": _initial_adapter_sha256(job),
        "base": {path.name: sha256_file(path, lambda _n: None) for path in base.files},
        "processes": n_processes,
        "seconds": round(progress.seconds, 1),
        "steps": progress.step,
        "events": progress.events,
        "looks": progress.validations,
        "versions": {"genrec-edge": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        "machine": platform.machine(),
    }
    _write_json(folder / RUN_NAME, run)
    with atomic_write(folder / LOG_NAME) as file:
        file.writelines(json.dumps(entry).encode() + b"\n" for entry in progress.log)
    plot_progress(folder / PLOT_NAME, progress)
    return {RUN_NAME, LOG_NAME, PLOT_NAME}


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def plot_progress(path: Path, progress: Progress) -> None:
    """Write a PNG: nats per title, and NDCG@10 and HR@10 of the validations, over the titles trained on."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss_axes, metric_axes = figure.subplots(1, 2)
    _plot_loss(loss_axes, progress)
    _plot_metrics(metric_axes, progress)
    for axes in (loss_axes, metric_axes):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _plot_loss(axes: Axes, progress: Progress) -> None:
    events = [entry["events"] for entry in progress.log]
    nats = [entry["nats"] for entry in progress.log]
    means = [sum(nats[max(0, i - _SMOOTHED_STEPS + 1) : i + 1]) / min(i + 1, _SMOOTHED_STEPS) for i in range(len(nats))]
    axes.plot(events, nats, color="#c9d6df", linewidth=0.6)
    axes.plot(events, means, color="#2a6f97")
    axes.set(xlabel="titles trained on", ylabel="nats per title", title=f"loss, mean of {_SMOOTHED_STEPS} steps")
    if means:
        axes.set_ylim(min(means) - 0.1, means[min(len(means) - 1, _SMOOTHED_STEPS)] + 0.3)


def _plot_metrics(axes: Axes, progress: Progress) -> None:
    validations = [entry for entry in progress.validations if "ndcg@10" in entry]
    events = [entry["events"] for entry in validations]
    for key, colour in (("hr@10", "#2a6f97"), ("ndcg@10", "#c44536")):
        axes.plot(events, [entry[key] for entry in validations], "o-", color=colour, label=key)
    axes.set(xlabel="titles trained on", title="validation, exact search", ylim=(0, None))
    if validations:
        axes.legend()
