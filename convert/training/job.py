"""What a training run was asked for, checked before anything is loaded, and what it will take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from genrec_edge.convert.checkpoint.layers import keep_layers, parse_layers
from genrec_edge.convert.checkpoint.open import open_base, require_absent
from genrec_edge.datasets.folder import load
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.datasets.folder import Dataset

_LIBRARIES = 700 << 20
"""Interpreter and libraries with their code, on the host: measured with torch 2.13, transformers 5.23, peft 0.21."""
_ADAM_BYTES = 16
"""A trained weight in float32: itself, its gradient and two moments."""
_WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FOUR_BITS = 0.56
"""Bytes of a weight in NF4 with a scale for 64 of them."""
_TOKENS_PER_TITLE = 6.2
"""With the end of the title. LLaMA tokens: 4.7-6.2 and one (docs/training.md)."""
_INSTRUCTION_TOKENS = 10
_TITLE_TOKENS = 3_000
"""Tokens that the titles of a catalog are made of. MovieLens-100K with SmolLM2's tokens: 2,951."""
_CHILDREN = 64
"""Rows of the output matrix that a title is compared with apart from other titles."""


@dataclass(frozen=True, slots=True)
class TrainJob:
    """A training run.

    Attributes:
        data: a data set's name or folder.
        base: a Hugging Face folder or a GGUF.
        out: the adapter's folder to make.
    """

    data: str
    base: Path
    out: Path
    recipe: Recipe
    n_threads: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes, estimated, of the device that trains: "GPU" or "host".

    Attributes:
        libraries: on the host, whatever trains.
        weights: of the base.
        trained: the adapter, its gradients and the moments of AdamW.
        activations: what one forward pass keeps for the way back.
        logits: of the targets, with what their loss keeps.
    """

    device: str
    libraries: int
    weights: int
    trained: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All that lies on the device."""
        on_host = self.libraries if self.device == "host" else 0
        return on_host + self.weights + self.trained + self.activations + self.logits


def open_inputs(job: TrainJob) -> tuple[Checkpoint, Dataset]:
    """Return the base as it will be trained, with the layers the recipe keeps, of which nothing is read yet; the data.

    Raises:
        UsageError: `out` exists, there is no such base or data set, or the recipe does not fit the base.
        ModelInvalidError: the base is damaged or not supported.
        DatasetError: the data set is damaged.
    """
    require_absent(job.out)
    base = open_base(job.base)
    begun = job.recipe.base.adapter
    if begun and not (Path(begun) / "adapter_model.safetensors").is_file():
        hint = "name the folder of an adapter that training made, or leave the key empty"
        raise UsageError(f"base.adapter: {begun} is no folder of an adapter", hint=hint)
    if job.recipe.base.layers:
        base = keep_layers(base, parse_layers(job.recipe.base.layers))
    if missing := [name for name in job.recipe.lora.whole if not _modules(base, name)]:
        message = f"lora.whole names {', '.join(missing)}, and {job.base} has no such modules"
        raise UsageError(message, hint="name modules as transformers does, or ends of their names")
    return base, load(job.data)


def _modules(base: Checkpoint, end: str) -> list[Tensor]:
    """Return what peft finds by the end of a module's name."""
    return [tensor for tensor in base.tensors.values() if tensor.name.rpartition(".")[0].endswith(end)]


def memory_plan(recipe: Recipe, base: Checkpoint) -> MemoryPlan:
    """Return what training will take.

    Measured on SmolLM2-135M in float32 on the host (docs/training.md), a token needs per layer 12 values of the layer's
    width, 2 of the queries', 2 of the keys' and 5 of the MLP's inner width, and the whole stays within 1.5 of what was
    measured. With gradient checkpointing only the input of each layer stays, and one layer at a time is done again. The
    vocabulary objective keeps logits, log-probabilities and gradients of all tokens for each token of a target.
    """
    config, settings = base.config, recipe.optimizer
    n_trained = sum(
        recipe.lora.r * sum(tensor.shape)
        for tensor in base.tensors.values()
        if tensor.name.split(".")[-2] in recipe.lora.targets
    )
    whole = {tensor.name: tensor.n_elements for end in recipe.lora.whole for tensor in _modules(base, end)}
    n_trained += sum(whole.values())
    if recipe.lora.tokens:
        n_trained += min(_TITLE_TOKENS, config.vocab_size) * config.hidden_size * (1 if config.tied else 2)
    n_tokens = settings.micro_batch * round(_INSTRUCTION_TOKENS + recipe.data.window * _TOKENS_PER_TITLE)
    n_targets = settings.micro_batch * (recipe.data.window if recipe.data.targets == "all" else 1)
    kv_width, q_width = config.n_kv_heads * config.head_size, config.n_heads * config.head_size
    n_values = 12 * config.hidden_size + 2 * q_width + 2 * kv_width + 5 * config.ffn_size
    if recipe.base.gradient_checkpointing:
        kept = 2 * n_values + config.n_layers * config.hidden_size
    else:
        kept = config.n_layers * n_values
    if recipe.objective.kind == "vocabulary":
        n_logits = 3 * round(n_targets * _TOKENS_PER_TITLE) * config.vocab_size
    else:
        n_logits = n_targets * _CHILDREN * config.hidden_size
    return MemoryPlan(
        device="GPU" if torch.cuda.is_available() else "host",
        libraries=_LIBRARIES,
        weights=round(base.n_params * (_FOUR_BITS if recipe.base.load_in_4bit else _WEIGHT_BYTES[recipe.base.dtype])),
        trained=n_trained * _ADAM_BYTES,
        activations=n_tokens * kept * _WEIGHT_BYTES[recipe.base.dtype],
        logits=n_logits * _WEIGHT_BYTES["float32"],
    )
