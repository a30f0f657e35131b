"""What a training run leaves beside its adapter: the record that `convert` reads, `run.json`, the log and a picture."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from genrec_edge._version import __version__
from genrec_edge.convert.checkpoint.layers import format_layers
from genrec_edge.gguf.training_keys import RECORD_NAME
from genrec_edge.storage.files import atomic_write, sha256_file
from genrec_edge.storage.work_folder import identity as file_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.training.data.bundle import TrainingData
    from genrec_edge.convert.training.job import TrainJob
    from genrec_edge.convert.training.state import Progress
    from genrec_edge.datasets.folder import Dataset

RUN_NAME, LOG_NAME, PLOT_NAME = "run.json", "log.jsonl", "training.png"
_SCHEMA = "genrec-edge/train@1"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy")
_SMOOTHED = 25
"""Steps of the running mean in the picture."""


def identity(job: TrainJob, base: Checkpoint, dataset: Dataset) -> dict[str, Any]:
    """Return what decides a run, without reading the weights."""
    return {
        "tool_version": __version__,
        "data": dict(dataset.card),
        "base": [file_identity(path) for path in base.files],
        "recipe": job.recipe.document(),
        "from": _begun_from(job),
    }


def _begun_from(job: TrainJob) -> str | None:
    """Return the hash of the adapter that is gone on from, None if there is none."""
    folder = job.recipe.base.adapter
    return sha256_file(Path(folder) / "adapter_model.safetensors", lambda _n: None) if folder else None


def best_look(progress: Progress) -> Mapping[str, float]:
    """Return the look with the best NDCG@10, the first of several; where nothing is held out, there is one look."""
    return max(progress.looks, key=lambda look: look.get("ndcg@10", 0.0))


def record(job: TrainJob, base: Checkpoint, material: TrainingData, look: Mapping[str, float]) -> dict[str, Any]:
    """Return what travels with the adapter into every GGUF made of it, scalars only; `look` tells of this adapter."""
    recipe = job.recipe
    card: dict[str, Any] = dict(material.dataset.card)
    split = material.split.card() if material.split is not None else {"split": "all", "ties": recipe.data.ties}
    found: dict[str, Any] = {
        "tool_version": __version__,
        "score_kind": "vocabulary" if recipe.objective.kind == "vocabulary" else "catalog",
        "prompt": recipe.prompt,
        "history": recipe.data.window - 1,
        "objective": recipe.objective.kind,
        "distill": recipe.objective.distill,
        "seed": recipe.seed,
        "steps": int(look["step"]),
        "events": int(look["events"]),
        "data": str(card["name"]),
        "data_licence": str(card["licence"]),
        "data_sha256": str(card["interactions"]["sha256"]),
        "split": str(split["split"]),
        "ties": str(split["ties"]),
    }
    if recipe.base.layers:
        found |= {"layers": format_layers(base.config.layers), "layers_of": base.config.n_original_layers}
    if recipe.objective.kind == "residual":
        found["prior"] = "sequence"
    return found | {key: float(value) for key, value in look.items() if key not in {"step", "events"}}


def write_record(
    folder: Path, job: TrainJob, base: Checkpoint, material: TrainingData, look: Mapping[str, float]
) -> None:
    """Write the record beside an adapter."""
    _write_json(folder / RECORD_NAME, record(job, base, material, look))


def write_documents(
    folder: Path, job: TrainJob, base: Checkpoint, material: TrainingData, progress: Progress, n_processes: int
) -> set[str]:
    """Write what tells of the whole run into `folder`, and return the names."""
    run = {
        "schema": _SCHEMA,
        "recipe": job.recipe.document(),
        "data": dict(material.dataset.card),
        "split": None if material.split is None else material.split.card(),
        "others": material.others,
        "from": _begun_from(job),
        "base": {path.name: sha256_file(path, lambda _n: None) for path in base.files},
        "processes": n_processes,
        "seconds": round(progress.seconds, 1),
        "steps": progress.step,
        "events": progress.events,
        "looks": progress.looks,
        "versions": {"genrec-edge": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        "machine": platform.machine(),
    }
    _write_json(folder / RUN_NAME, run)
    with atomic_write(folder / LOG_NAME) as file:
        file.writelines(json.dumps(entry).encode() + b"\n" for entry in progress.log)
    draw(folder / PLOT_NAME, progress)
    return {RUN_NAME, LOG_NAME, PLOT_NAME}


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def draw(path: Path, progress: Progress) -> None:
    """Write a PNG: nats per title over the events seen, and the looks at NDCG@10 and HR@10."""
    looks = [look for look in progress.looks if "ndcg@10" in look]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    events = [entry["events"] for entry in progress.log]
    nats = [entry["nats"] for entry in progress.log]
    means = [sum(nats[max(0, i - _SMOOTHED + 1) : i + 1]) / min(i + 1, _SMOOTHED) for i in range(len(nats))]
    left.plot(events, nats, color="#c9d6df", linewidth=0.6)
    left.plot(events, means, color="#2a6f97")
    left.set(xlabel="titles trained on", ylabel="nats per title", title=f"loss, mean of {_SMOOTHED} steps")
    if means:
        left.set_ylim(min(means) - 0.1, means[min(len(means) - 1, _SMOOTHED)] + 0.3)
    for key, colour in (("hr@10", "#2a6f97"), ("ndcg@10", "#c44536")):
        right.plot([look["events"] for look in looks], [look[key] for look in looks], "o-", color=colour, label=key)
    right.set(xlabel="titles trained on", title="validation, exact decoder", ylim=(0, None))
    for axes in (left, right):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if looks:
        right.legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)
