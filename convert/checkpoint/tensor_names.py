"""Maps tensor names of transformers to those of llama.cpp, and gives the order of their rows.

Source of the GGUF names: `gguf/tensor_mapping.py` of the `gguf` package 0.19.0 (a test compares them); of the row
order: `conversion/llama.py`, `LlamaModel.permute`, llama.cpp 0c1e57098.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.config import ModelConfig

EMBEDDING = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"
OUTPUT_NORM = "model.norm.weight"

_TOP = {EMBEDDING: "token_embd.weight", OUTPUT_NORM: "output_norm.weight", OUTPUT: "output.weight"}
_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of a model with this config, in the order in which they are written."""
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, config.hidden_size)}
    for layer in range(config.n_layers):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in _layer_shapes(config)}
    shapes[OUTPUT_NORM] = (config.hidden_size,)
    if not config.tied:
        shapes[OUTPUT] = (config.vocab_size, config.hidden_size)
    return shapes


def _layer_shapes(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, ffn, head = config.hidden_size, config.ffn_size, config.head_size
    queries, keys = config.n_heads * head, config.n_kv_heads * head
    linear = {
        "self_attn.q_proj": (queries, hidden, config.attention_bias),
        "self_attn.k_proj": (keys, hidden, config.attention_bias),
        "self_attn.v_proj": (keys, hidden, config.attention_bias),
        "self_attn.o_proj": (hidden, queries, config.output_bias),
        "mlp.gate_proj": (ffn, hidden, config.mlp_bias),
        "mlp.up_proj": (ffn, hidden, config.mlp_bias),
        "mlp.down_proj": (hidden, ffn, config.mlp_bias),
    }
    yield "input_layernorm.weight", (hidden,)
    for part, (rows, columns, bias) in linear.items():
        yield f"{part}.weight", (rows, columns)
        if bias:
            yield f"{part}.bias", (rows,)
    if config.qk_norm:
        yield "self_attn.q_norm.weight", (head,)
        yield "self_attn.k_norm.weight", (head,)
    yield "post_attention_layernorm.weight", (hidden,)


def gguf_name(name: str) -> str:
    """Return llama.cpp's name of a tensor.

    Raises:
        KeyError: no tensor of the supported families has this name.
    """
    if name in _TOP:
        return _TOP[name]
    prefix, _, rest = name.partition("model.layers.")
    layer, _, part_and_kind = rest.partition(".")
    part, _, kind = part_and_kind.rpartition(".")
    if prefix or not layer.isdecimal() or kind not in {"weight", "bias"}:
        raise KeyError(name)
    return f"blk.{layer}.{_PARTS[part]}.{kind}"


def row_order(config: ModelConfig, name: str) -> NDArray[np.intp] | None:
    """Return the row of the Hugging Face tensor for each row of the GGUF tensor, or None where the order is the same.

    For RoPE transformers pairs row i of a head with row i + head_size / 2. llama.cpp does too, except for architecture
    "llama", where it pairs row 2 i with row 2 i + 1: there the two halves of each head of q and k are interleaved.
    """
    if config.architecture != "llama" or ".self_attn." not in name:
        return None
    if ".q_proj." in name:
        n_heads = config.n_heads
    elif ".k_proj." in name:
        n_heads = config.n_kv_heads
    else:
        return None
    rows = np.arange(n_heads * config.head_size, dtype=np.intp)
    return rows.reshape(n_heads, 2, config.head_size // 2).swapaxes(1, 2).reshape(-1)
