"""An estimate of the memory that a training run needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from genrec_edge.convert.training.job import modules_ending_with

if TYPE_CHECKING:
    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.training.recipe import Recipe

_LIBRARY_BYTES = 700 << 20
"""Interpreter and libraries with their code, on the host: measured with torch 2.13, transformers 5.23, peft 0.21."""
_ADAM_BYTES = 16
"""Per trained weight, in float32: the weight, its gradient and two moments."""
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_NF4_BYTES = 0.56
"""Per weight in NF4, with a scale for each 64 of them."""
_TOKENS_PER_TITLE = 6.2
"""With the end of the title. LLaMA tokens: 4.7-6.2 and one (docs/training.md)."""
_INSTRUCTION_TOKENS = 10
_MAX_TITLE_TOKENS = 3_000
"""Different tokens in the titles of a catalog. MovieLens-100K with SmolLM2's tokens: 2,951."""
_CHILDREN_PER_TITLE = 64
"""Rows of the output matrix that a title is compared with and that it does not share with other titles."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Estimated bytes on the device that trains.

    Attributes:
        device: "GPU" or "host".
        libraries: always on the host.
        weights: the weights of the base.
        adapter: the trained weights, their gradients and the moments of AdamW.
        activations: what a forward pass keeps for the backward pass.
        logits: the logits of the targets, with what their loss keeps.
    """

    device: str
    libraries: int
    weights: int
    adapter: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """Everything on the device."""
        on_host = self.libraries if self.device == "host" else 0
        return on_host + self.weights + self.adapter + self.activations + self.logits


def memory_plan(recipe: Recipe, base: Checkpoint) -> MemoryPlan:
    """Return an estimate of the memory that training needs.

    Measured on SmolLM2-135M in float32 on the host (docs/training.md), the total is within a factor of 1.5 of what was
    measured.
    """
    bytes_per_weight = _NF4_BYTES if recipe.base.load_in_4bit else _DTYPE_BYTES[recipe.base.dtype]
    return MemoryPlan(
        device="GPU" if torch.cuda.is_available() else "host",
        libraries=_LIBRARY_BYTES,
        weights=round(base.n_params * bytes_per_weight),
        adapter=_n_trained(recipe, base) * _ADAM_BYTES,
        activations=_n_activations(recipe, base) * _DTYPE_BYTES[recipe.base.dtype],
        logits=_n_logits(recipe, base) * _DTYPE_BYTES["float32"],
    )


def _n_trained(recipe: Recipe, base: Checkpoint) -> int:
    """Return the number of trained weights."""
    config, lora = base.config, recipe.lora
    n_trained = sum(
        lora.r * sum(tensor.shape) for tensor in base.tensors.values() if tensor.name.split(".")[-2] in lora.targets
    )
    whole = {tensor.name: tensor.n_elements for name in lora.whole for tensor in modules_ending_with(base, name)}
    n_trained += sum(whole.values())
    if lora.tokens:
        n_matrices = 1 if config.tied else 2
        n_trained += min(_MAX_TITLE_TOKENS, config.vocab_size) * config.hidden_size * n_matrices
    return n_trained


def _n_activations(recipe: Recipe, base: Checkpoint) -> int:
    """Return the number of values that a forward pass keeps.

    Per token and layer: 12 times the layer's width, 2 times the queries', 2 times the keys' and 5 times the MLP's inner
    width. With gradient checkpointing only the input of each layer is kept, and one layer at a time is recomputed.
    """
    config = base.config
    n_tokens = recipe.optimizer.micro_batch * round(_INSTRUCTION_TOKENS + recipe.data.window * _TOKENS_PER_TITLE)
    kv_width, q_width = config.n_kv_heads * config.head_size, config.n_heads * config.head_size
    per_layer = 12 * config.hidden_size + 2 * q_width + 2 * kv_width + 5 * config.ffn_size
    if recipe.base.gradient_checkpointing:
        per_token = 2 * per_layer + config.n_layers * config.hidden_size
    else:
        per_token = config.n_layers * per_layer
    return n_tokens * per_token


def _n_logits(recipe: Recipe, base: Checkpoint) -> int:
    """Return the number of values that the loss keeps.

    The vocabulary objective keeps logits, log-probabilities and gradients over the vocabulary for each target token.
    """
    n_targets = recipe.optimizer.micro_batch * (recipe.data.window if recipe.data.targets == "all" else 1)
    if recipe.objective.kind == "vocabulary":
        return 3 * round(n_targets * _TOKENS_PER_TITLE) * base.config.vocab_size
    return n_targets * _CHILDREN_PER_TITLE * base.config.hidden_size
