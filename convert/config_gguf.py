"""A model's hyperparameters as the metadata of a GGUF, read and written.

Source of the keys: docs/gguf.md of ggml, and src/llama-model.cpp, `load_hparams` (llama.cpp 0c1e57098).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from genrec_edge.convert.config import SUPPORTED, ModelConfig, RopeScaling
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from genrec_edge.convert.config import Architecture
    from genrec_edge.gguf_types import GgufHeader, TensorInfo

ROPE_FREQS = "rope_freqs.weight"
"""The divisors of the frequencies ("llama3"); a tensor of head_size / 2 float32, not a weight."""

_HF_CLASS = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_TOLERANCE = 1e-5


def gguf_fields(config: ModelConfig) -> dict[str, int | float | str]:
    """Return the keys of a config: int values are uint32, float values float32."""
    arch = config.architecture
    fields: dict[str, int | float | str] = {
        f"{arch}.block_count": config.n_layers,
        f"{arch}.context_length": config.context_length,
        f"{arch}.embedding_length": config.hidden_size,
        f"{arch}.feed_forward_length": config.ffn_size,
        f"{arch}.attention.head_count": config.n_heads,
        f"{arch}.attention.head_count_kv": config.n_kv_heads,
        f"{arch}.attention.layer_norm_rms_epsilon": config.rms_epsilon,
        f"{arch}.attention.key_length": config.head_size,
        f"{arch}.attention.value_length": config.head_size,
        f"{arch}.rope.freq_base": config.rope_base,
        f"{arch}.rope.dimension_count": config.head_size,
        f"{arch}.vocab_size": config.vocab_size,
    }
    if config.rope_scaling is not None and config.rope_scaling.kind == "linear":
        fields |= {f"{arch}.rope.scaling.type": "linear", f"{arch}.rope.scaling.factor": config.rope_scaling.factor}
    return fields


def read_config(header: GgufHeader) -> ModelConfig:
    """Return the config of a GGUF that has passed `gguf_check.check_runnable`. Reads `ROPE_FREQS`, if it is there.

    Raises:
        ModelInvalidError: the file computes something no config.json of these families says.
    """
    arch = cast("Architecture", header.architecture)
    tensors = {tensor.name: tensor for tensor in header.tensors}

    def number(name: str, default: float | None = None) -> float:
        return cast("float", header.metadata.get(f"{arch}.{name}", default))

    layers, heads, hidden = int(number("block_count")), int(number("attention.head_count")), number("embedding_length")
    head_size = int(number("attention.key_length", hidden // heads))
    base = number("rope.freq_base", 10000.0)
    return ModelConfig(
        architecture=arch,
        hf_class=_HF_CLASS[arch],
        vocab_size=tensors["token_embd.weight"].shape[1],
        hidden_size=int(hidden),
        layers=tuple(range(layers)),
        original_layers=layers,
        n_heads=heads,
        n_kv_heads=int(number("attention.head_count_kv", heads)),
        head_size=head_size,
        ffn_size=int(number("feed_forward_length")),
        context_length=int(number("context_length")),
        rms_epsilon=_short(number("attention.layer_norm_rms_epsilon")),
        rope_base=_short(base),
        rope_scaling=_scaling(header, tensors.get(ROPE_FREQS), base, head_size),
        tied="output.weight" not in tensors,
        attention_bias="blk.0.attn_q.bias" in tensors,
        output_bias="blk.0.attn_output.bias" in tensors,
        mlp_bias="blk.0.ffn_gate.bias" in tensors,
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
    )


def _scaling(header: GgufHeader, freqs: TensorInfo | None, rope_base: float, head_size: int) -> RopeScaling | None:
    key = f"{header.architecture}.rope.scaling"
    kind = header.metadata.get(f"{key}.type", "none")
    if kind == "linear":
        return RopeScaling("linear", _short(cast("float", header.metadata.get(f"{key}.factor", 1.0))))
    if kind != "none":
        raise ModelInvalidError(f"{header.path}: rope scaling of type {kind!r} is not supported")
    if freqs is None:
        return None
    # The file holds the divisors, not what they were computed from; every LLaMA 3 but the factor says the same.
    found = np.fromfile(header.path, np.float32, freqs.n_elements, offset=freqs.offset)
    scaling = RopeScaling("llama3", _short(float(found.max(initial=1.0))))
    expected = scaling.divisors(rope_base, head_size)
    if freqs.type != "F32" or found.shape != (len(expected),) or not np.allclose(found, expected, rtol=_TOLERANCE):
        hint = f"convert from the Hugging Face checkpoint; supported: {SUPPORTED}"
        raise ModelInvalidError(f"{header.path}: {ROPE_FREQS} is not what LLaMA 3 models have", hint=hint)
    return scaling


def _short(value: float) -> float:
    """Return the shortest decimal that is the same float32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
