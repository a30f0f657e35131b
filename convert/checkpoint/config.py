"""The hyperparameters of a LLaMA-family model, whichever file they come from or go to.

`config_hf` reads and writes them as `config.json`, `config_gguf` as the metadata of a GGUF.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Architecture = Literal["llama", "qwen2", "qwen3"]
"""What llama.cpp calls them. LLaMA 1 to 3, SmolLM2 and Mistral are all "llama"."""

FAMILIES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""`architectures` of a config.json that can be converted."""

SUPPORTED = "LLaMA 1 to 3, SmolLM2, Mistral, Qwen2, Qwen2.5, Qwen3"

MAX_LAYERS = 512
"""Source: src/llama-hparams.h, LLAMA_MAX_LAYERS (llama.cpp 0c1e57098)."""

MAX_SIZE = (1 << 31) - 1
"""Of any count: what an int32 of llama.cpp holds."""


def is_positive_float32(value: object) -> bool:
    """Whether a value out of a file is a positive number that a float32 holds, and its reciprocal, too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 1e-30 < value < 1e30


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How positions are rotated to reach beyond the length of the first training.

    "linear" divides every position by `factor`; "llama3" divides the slow frequencies alone, those of a wavelength
    beyond `original_context` / `low_freq_factor`, keeps the fast ones, and goes smoothly from one to the other.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    original_context: int = 8192
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def divisors(self, rope_base: float, head_size: int) -> tuple[float, ...]:
        """Return what each of the head_size / 2 frequencies is divided by ("llama3").

        Source: "Llama 3.1" reference code, `apply_scaling`, as described in transformers'
        `modeling_rope_utils._compute_llama3_parameters`.
        """
        slow, fast = self.original_context / self.low_freq_factor, self.original_context / self.high_freq_factor
        divisors = []
        for i in range(0, head_size, 2):
            wavelength = 2 * math.pi * rope_base ** (i / head_size)
            # 0 where the frequency is divided in full, 1 where it is kept.
            kept = (self.original_context / wavelength - self.low_freq_factor) / (
                self.high_freq_factor - self.low_freq_factor
            )
            if wavelength < fast:
                divisors.append(1.0)
            elif wavelength > slow:
                divisors.append(self.factor)
            else:
                divisors.append(1 / ((1 - kept) / self.factor + kept))
        return tuple(divisors)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything about a model that is not a tensor or a token.

    Attributes:
        hf_class: the class of transformers that runs it, such as "LlamaForCausalLM".
        layers: which layers of the original model this one has, in order; 0 to n - 1 for a whole one.
        n_original_layers: how many layers the original has.
        tied: the output matrix is the embedding.
        attention_bias, output_bias, mlp_bias: which linear layers carry a bias: q, k and v; o; the three of the MLP.
        qk_norm: queries and keys are normalised per head (Qwen3).
    """

    architecture: Architecture
    hf_class: str
    vocab_size: int
    hidden_size: int
    layers: tuple[int, ...]
    n_original_layers: int
    n_heads: int
    n_kv_heads: int
    head_size: int
    ffn_size: int
    context_length: int
    rms_epsilon: float
    rope_base: float
    tied: bool
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    rope_scaling: RopeScaling | None = None

    @property
    def n_layers(self) -> int:
        """The number of layers."""
        return len(self.layers)
