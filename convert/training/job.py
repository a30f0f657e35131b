"""A training job, and its inputs checked and opened before anything large is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.layers import keep_layers, parse_layers
from genrec_edge.convert.checkpoint.open import open_base, require_absent
from genrec_edge.convert.lora.deltas import DELTAS_NAME
from genrec_edge.datasets.folder import load
from genrec_edge.errors import UsageError
from genrec_edge.serving.config import threads_or_default

if TYPE_CHECKING:
    from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.datasets.folder import Dataset

ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""PEFT's name for the weights in an adapter folder."""


@dataclass(frozen=True, slots=True)
class TrainJob:
    """A training run.

    Attributes:
        data: name or folder of a data set.
        base: a Hugging Face folder or a GGUF file.
        out: the adapter folder to write; it does not exist, or is empty.
        recipe: all settings of the training.
        n_threads: CPU threads of torch and of the validation; None leaves the choice to them.
    """

    data: str
    base: Path
    out: Path
    recipe: Recipe
    n_threads: int | None = None


@dataclass(frozen=True, slots=True)
class TrainInputs:
    """What a training run reads.

    Attributes:
        base: the checkpoint with the layers that the recipe keeps; no weights are read yet.
        dataset: the whole data set.
    """

    base: Checkpoint
    dataset: Dataset


def open_inputs(job: TrainJob) -> TrainInputs:
    """Check a job, and open its base and data set. Read-only.

    Raises:
        UsageError: `n_threads` is out of range, `out` exists, there is no such base, data set or initial adapter, or
            the recipe does not fit the base.
        ModelInvalidError: the base is damaged or not supported.
        DatasetError: the data set is damaged.
    """
    threads_or_default(job.n_threads)
    require_absent(job.out)
    recipe, base = job.recipe, open_base(job.base)
    if recipe.base.adapter and not (Path(recipe.base.adapter) / ADAPTER_WEIGHTS).is_file():
        hint = "name the folder of an adapter that was trained before, or leave the key empty"
        if (Path(recipe.base.adapter) / DELTAS_NAME).is_file():
            hint = "it was packed: python -m genrec_edge.convert.pipeline.pack --unpack ADAPTER BASE OUT"
        raise UsageError(f"base.adapter: there is no {ADAPTER_WEIGHTS} in {recipe.base.adapter}", hint=hint)
    if recipe.base.layers:
        base = _with_layers_of(recipe.base.layers, base)
    if missing := [name for name in recipe.lora.whole if not modules_ending_with(base, name)]:
        raise UsageError(
            f"lora.whole: {job.base} has no modules called {', '.join(missing)}",
            hint="use the names of modules in transformers, or the ends of these names",
        )
    return TrainInputs(base, load(job.data))


def _with_layers_of(layers: str, base: Checkpoint) -> Checkpoint:
    """Return the base with the layers that the recipe keeps; errors name the key of the recipe."""
    try:
        return keep_layers(base, parse_layers(layers))
    except UsageError as e:
        raise UsageError(e.message.replace("`layers`", "base.layers"), hint=e.hint) from e


def modules_ending_with(base: Checkpoint, name: str) -> list[Tensor]:
    """Return the tensors of the modules whose names end like this, which is how peft finds them."""
    return [tensor for tensor in base.tensors.values() if tensor.name.rpartition(".")[0].endswith(name)]
