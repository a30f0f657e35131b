"""A model's hyperparameters as the metadata of a GGUF, read and written.

Source of the keys: docs/gguf.md of ggml, and src/llama-model.cpp, `load_hparams` (llama.cpp 0c1e57098).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from genrec_edge.convert.checkpoint.config import MAX_SIZE, SUPPORTED, ModelConfig, RopeScaling, is_positive_float32
from genrec_edge.convert.checkpoint.layers import recorded_layers
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.training_keys import LAYERS_KEY, LAYERS_OF_KEY
from genrec_edge.gguf.types import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genrec_edge.convert.checkpoint.config import Architecture
    from genrec_edge.gguf.types import GgufHeader, TensorInfo

ROPE_FREQS = "rope_freqs.weight"
"""The tensor with the divisors of the RoPE frequencies ("llama3"): head_size / 2 float32; not a weight."""

_HF_CLASS = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_TOLERANCE = 1e-5
_BIASES: Mapping[str, frozenset[tuple[bool, bool, bool]]] = {
    "llama": frozenset({(False, False, False), (False, False, True), (True, True, False), (True, True, True)}),
    "qwen2": frozenset({(True, False, False)}),
    "qwen3": frozenset({(False, False, False)}),
}
"""The combinations of `attention_bias`, `output_bias` and `mlp_bias` that transformers computes."""

_HINT = f"convert from the Hugging Face checkpoint; supported: {SUPPORTED}"


def gguf_fields(config: ModelConfig) -> dict[str, int | float | str]:
    """Return the metadata keys and values of a config: int values are uint32, float values float32."""
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
    """Return the config of a GGUF that has passed `gguf.validate.check_runnable`. Reads `ROPE_FREQS` if present.

    Raises:
        ModelInvalidError: the file describes a model that no config.json of these families can describe.
    """
    arch = cast("Architecture", header.architecture)
    tensors = {tensor.name: tensor for tensor in header.tensors}

    def size(name: str, default: int = 0) -> int:
        return cast("int", header.metadata.get(f"{arch}.{name}", default))

    layers, heads, hidden = size("block_count"), size("attention.head_count"), size("embedding_length")
    head_size = size("attention.key_length", hidden // heads)
    base = _real(header, "rope.freq_base", 10000.0)
    kept, n_original_layers = recorded_layers(
        header.metadata.get(LAYERS_KEY), header.metadata.get(LAYERS_OF_KEY), layers
    )
    config = ModelConfig(
        architecture=arch,
        hf_class=_HF_CLASS[arch],
        vocab_size=tensors["token_embd.weight"].shape[1],
        hidden_size=hidden,
        layers=kept,
        n_original_layers=n_original_layers,
        n_heads=heads,
        n_kv_heads=size("attention.head_count_kv", heads),
        head_size=head_size,
        ffn_size=size("feed_forward_length"),
        context_length=size("context_length"),
        rms_epsilon=_real(header, "attention.layer_norm_rms_epsilon", 0.0),
        rope_base=base,
        rope_scaling=_scaling(header, tensors.get(ROPE_FREQS), base, head_size),
        tied="output.weight" not in tensors,
        attention_bias="blk.0.attn_q.bias" in tensors,
        output_bias="blk.0.attn_output.bias" in tensors,
        mlp_bias="blk.0.ffn_gate.bias" in tensors,
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
    )
    if problem := _unsupported(config):
        raise ModelInvalidError(f"{header.path} cannot be converted: {problem}", hint=_HINT)
    return config


def _unsupported(config: ModelConfig) -> str:
    """Return what the class of transformers cannot compute, or ""."""
    if config.context_length > MAX_SIZE:
        return f"its context length is {config.context_length:,}, and at most {MAX_SIZE:,} are supported"
    biases = (config.attention_bias, config.output_bias, config.mlp_bias)
    if biases not in _BIASES[config.architecture]:
        return f"{config.hf_class} does not have this combination of biases"
    if config.qk_norm != (config.architecture == "qwen3"):
        if config.qk_norm:
            return f"its queries and keys are normalised, and {config.hf_class} does not do that"
        return f"its queries and keys are not normalised, and {config.hf_class} does that"
    return ""


def _scaling(header: GgufHeader, freqs: TensorInfo | None, rope_base: float, head_size: int) -> RopeScaling | None:
    arch = header.architecture
    # llama.cpp reads a factor without a type as linear, and accepts an older name of the key (load_hparams).
    kind = header.metadata.get(f"{arch}.rope.scaling.type", "linear")
    names = [name for name in ("rope.scaling.factor", "rope.scale_linear") if f"{arch}.{name}" in header.metadata]
    factor = _real(header, names[0], 1.0) if names else 1.0
    if kind not in {"none", "linear"}:
        raise ModelInvalidError(f"{header.path}: rope scaling of type {kind!r} is not supported", hint=_HINT)
    linear = RopeScaling("linear", factor) if kind == "linear" and factor != 1 else None
    if freqs is None:
        return linear
    # The file holds only the divisors. All parameters but the factor are the same in every LLaMA 3.
    if freqs.type == "F32" and freqs.shape == (head_size // 2,) and arch == "llama" and linear is None:
        divisors = np.fromfile(header.path, np.float32, freqs.n_elements, offset=freqs.offset)
        scaling = RopeScaling("llama3", _shortest_decimal(float(divisors.max())))
        if is_positive_float32(scaling.factor) and np.allclose(
            divisors, scaling.divisors(rope_base, head_size), rtol=_TOLERANCE
        ):
            return scaling
    raise ModelInvalidError(f"{header.path}: the values of {ROPE_FREQS} are not those of a LLaMA 3 model", hint=_HINT)


def _real(header: GgufHeader, name: str, default: float) -> float:
    value = header.metadata.get(f"{header.architecture}.{name}", default)
    if not is_positive_float32(value):
        message = f"{header.path}: {header.architecture}.{name} is {shown(value)}, not a positive number"
        raise ModelInvalidError(message, hint=_HINT)
    return _shortest_decimal(cast("float", value))


def _shortest_decimal(value: float) -> float:
    """Return the shortest decimal with the same float32 value: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
