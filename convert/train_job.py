"""What a training run was asked for, checked before anything is loaded, and what it will take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from genrec_edge.convert.depth import keep_layers, parse_layers
from genrec_edge.convert.open_base import open_base, require_absent
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint import Checkpoint
    from genrec_edge.convert.recipe import Recipe

_ADAM_BYTES = 16
"""A trained weight in float32: itself, its gradient and two moments."""
_WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_TOKENS_PER_TITLE = 6.2
"""With the end of the title. LLaMA tokens: 4.7-6.2 and one (docs/training.md)."""
_ACTIVATIONS = 34
"""Values kept for the way back, per token, layer and unit of width, without attention scores.
Source: Korthikanti et al. 2022, arXiv 2205.05198, equation 1, in half precision: 34 bytes; here in values of 2 bytes."""


@dataclass(frozen=True, slots=True)
class TrainJob:
    """A training run: `data` is a data set's name or folder, `base` a Hugging Face folder or a GGUF."""

    data: str
    base: Path
    out: Path
    recipe: Recipe
    prior: Path | None = None
    n_threads: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes, estimated: of the base's weights, of what is trained, of the activations of one forward pass."""

    device: str
    weights: int
    trained: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.trained + self.activations


def open_trainee(job: TrainJob) -> Checkpoint:
    """Return the base as it will be trained: with the layers the recipe keeps. Nothing is read yet.

    Raises:
        UsageError: `out` exists, or there is no such base.
        ModelInvalidError: the base is damaged or not supported.
    """
    require_absent(job.out)
    base = open_base(job.base)
    return keep_layers(base, parse_layers(job.recipe.base.layers)) if job.recipe.base.layers else base


def memory_plan(recipe: Recipe, base: Checkpoint) -> MemoryPlan:
    """Return what the weights, the adapter and the activations will take, on the device that trains."""
    config = base.config
    n_targets = sum(
        recipe.lora.r * sum(tensor.shape)
        for tensor in base.tensors.values()
        if tensor.name.split(".")[-2] in recipe.lora.targets
    )
    weight_bytes = 0.56 if recipe.base.load_in_4bit else _WEIGHT_BYTES[recipe.base.dtype]
    tokens = recipe.optimizer.micro_batch * round(recipe.data.window * _TOKENS_PER_TITLE)
    layers = 1 + config.n_layers // 8 if recipe.base.gradient_checkpointing else config.n_layers
    value_bytes = 2 * _WEIGHT_BYTES[recipe.base.dtype] // 4 if recipe.base.dtype != "float32" else 2
    return MemoryPlan(
        device="GPU" if torch.cuda.is_available() else "host",
        weights=round(base.n_params * weight_bytes),
        trained=n_targets * _ADAM_BYTES,
        activations=tokens * layers * config.hidden_size * _ACTIVATIONS * value_bytes,
    )


def check_targets(recipe: Recipe, base: Checkpoint) -> None:
    """Raise UsageError where the recipe adapts a module that the base does not have."""
    modules = {tensor.name.split(".")[-2] for tensor in base.tensors.values()}
    if missing := sorted(set(recipe.lora.targets) - modules):
        raise UsageError(
            f"lora.targets: the base has no {', '.join(missing)}", hint=f"it has {', '.join(sorted(modules))}"
        )
