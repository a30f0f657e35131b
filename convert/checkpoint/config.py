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
"""llama.cpp's names. LLaMA 1 to 3, SmolLM2 and Mistral are all "llama"."""

FAMILIES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""The supported values of `architectures` in a config.json."""

SUPPORTED = "LLaMA 1 to 3, SmolLM2, Mistral, Qwen2, Qwen2.5, Qwen3"

MAX_LAYERS = 512
"""Source: src/llama-hparams.h, LLAMA_MAX_LAYERS (llama.cpp 0c1e57098)."""

MAX_SIZE = (1 << 31) - 1
"""The largest count in a config: llama.cpp stores counts as int32."""


def is_positive_float32(value: object) -> bool:
    """Return whether a value is a positive number that float32 can hold, together with its reciprocal."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 1e-30 < value < 1e30


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """RoPE scaling, which extends the context beyond the length of the pre-training.

    "linear" divides every position by `factor`. "llama3" divides only the low frequencies, those with a wavelength
    above `original_context` / `low_freq_factor`, keeps the high ones, and interpolates between the two.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    original_context: int = 8192
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def divisors(self, rope_base: float, head_size: int) -> tuple[float, ...]:
        """Return the divisor of each of the head_size / 2 frequencies ("llama3").

        Source: "Llama 3.1" reference code, `apply_scaling`, as described in transformers'
        `modeling_rope_utils._compute_llama3_parameters`.
        """
        long_wavelength = self.original_context / self.low_freq_factor
        short_wavelength = self.original_context / self.high_freq_factor
        divisors = []
        for i in range(0, head_size, 2):
            wavelength = 2 * math.pi * rope_base ** (i / head_size)
            # 0 where the frequency is divided by `factor`, 1 where it is kept.
            smooth = (self.original_context / wavelength - self.low_freq_factor) / (
                self.high_freq_factor - self.low_freq_factor
            )
            if wavelength < short_wavelength:
                divisors.append(1.0)
            elif wavelength > long_wavelength:
                divisors.append(self.factor)
            else:
                divisors.append(1 / ((1 - smooth) / self.factor + smooth))
        return tuple(divisors)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The hyperparameters of a model.

    Attributes:
        hf_class: its class in transformers, such as "LlamaForCausalLM".
        layers: the layers of the original model that this one has, in order; 0 to n - 1 for a complete model.
        n_original_layers: the number of layers of the original model.
        tied: whether the output matrix is the embedding.
        attention_bias, output_bias, mlp_bias: whether these linear layers have a bias: q, k and v; o; those of the MLP.
        qk_norm: whether queries and keys are normalised per head (Qwen3).
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
