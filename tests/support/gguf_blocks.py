"""GGUF models of one layer whose matrices are random blocks of any tensor type, read by the gguf package alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import torch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


WIDTH, HIDDEN, N_TOKENS, N_HEADS, N_KV_HEADS = 256, 512, 12, 4, 2
SHAPES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH // 2, WIDTH),
    "attn_v": (WIDTH // 2, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (HIDDEN, WIDTH),
    "ffn_up": (HIDDEN, WIDTH),
    "ffn_down": (WIDTH, HIDDEN),
}
TYPES = [
    kind.name
    for kind in gguf.GGMLQuantizationType
    # Integers, float64 and intermediate results are no weights; Q1_0 is one the package cannot dequantize.
    if kind.name not in {"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K", "Q1_0"}
]


def write_model(path: Path, kind: str, vector_kind: str = "F32") -> Path:
    """Write a LLaMA of one layer whose matrices are random blocks of a type, with scales that are numbers."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {
        "context_length": 64,
        "embedding_length": WIDTH,
        "block_count": 1,
        "feed_forward_length": HIDDEN,
        "attention.head_count": N_HEADS,
        "attention.head_count_kv": N_KV_HEADS,
    }.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*(f"t{i}" for i in range(N_TOKENS - 1)), "\u010a"])
    writer.add_token_types([1] * N_TOKENS)
    writer.add_token_merges(["a b"])
    rng = np.random.default_rng(1)
    shapes = {f"blk.0.{name}.weight": shape for name, shape in SHAPES.items()}
    for name, shape in {"token_embd.weight": (N_TOKENS, WIDTH), **shapes}.items():
        add(writer, name, random_blocks(rng, shape, gguf.GGMLQuantizationType[kind]), kind)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        add(writer, name, random_blocks(rng, (WIDTH,), gguf.GGMLQuantizationType[vector_kind]), vector_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer: gguf.GGUFWriter, name: str, data: NDArray[Any], kind: str) -> None:
    writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])


def random_blocks(rng: np.random.Generator, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> NDArray[Any]:
    """Return the bytes of random weights, quantized where the package can, any bytes that are numbers otherwise."""
    try:
        return np.asarray(gguf.quants.quantize(rng.normal(0, 1, shape).astype(np.float32), kind))
    except NotImplementedError:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        # Bytes below 0x30 are half floats of at most 0.11, wherever a block has its scales.
        return rng.integers(0, 0x30, (*shape[:-1], shape[-1] // block * size), np.uint8)


def reference(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return all tensors of a GGUF by the gguf package alone, rows of queries and keys as transformers has them."""
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        heads = {"blk.0.attn_q.weight": N_HEADS, "blk.0.attn_k.weight": N_KV_HEADS}.get(tensor.name)
        if heads:
            pairs = torch.tensor(values).reshape(heads, -1, 2, WIDTH)
            values = torch.cat((pairs[:, :, 0], pairs[:, :, 1]), 1).reshape(-1, WIDTH).numpy()
        found[tensor.name] = np.array(values)
    return found
