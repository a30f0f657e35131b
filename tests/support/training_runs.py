"""Short training runs of tiny models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from genrec_edge.convert.pipeline import run as run_module
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.convert.training.job import TrainJob
from genrec_edge.convert.training.recipe_reader import recipe_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from genrec_edge.convert.training.trainer import TrainingResult

SMALL: Mapping[str, Any] = {
    "checkpoint_every": 4,
    "data": {"window": 8},
    "lora": {"r": 8, "alpha": 16, "tokens": True},
    "optimizer": {"lr": 1e-2, "warmup": 2, "epochs": 1, "batch": 6, "micro_batch": 6},
    "validation": {"users": 10, "every": 1, "patience": 9},
}


def changed(**tables: Any) -> dict[str, Any]:
    """Return `SMALL` with other values in some tables."""
    document: dict[str, Any] = {**SMALL}
    for name, value in tables.items():
        document[name] = {**document.get(name, {}), **value} if isinstance(value, dict) else value
    return document


def job(data: Path, base: Path, out: Path, document: Mapping[str, Any] = SMALL, **options: Any) -> TrainJob:
    return TrainJob(str(data), base, out, recipe_of(dict(document), "test"), n_threads=1, **options)


def curve(trained: TrainingResult) -> list[float]:
    return [entry["loss"] for entry in trained.progress.log]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter_model.safetensors")


def converted(tmp_path: Path, base: Path, adapter: Path, **options: Any) -> Path:
    """Return the F16 file of what `convert` makes of an adapter."""
    wanted = ConversionJob(
        base, tmp_path / "made", "toy", "CC0-1.0", ("F16",), None, ((adapter, 1.0),), verify="none", **options
    )
    outcome = run_module.convert(run_module.prepare(wanted))
    return outcome.files["F16"]
