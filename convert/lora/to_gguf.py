"""Writes a LoRA adapter as a GGUF, which llama.cpp applies at run time, without a merge.

llama.cpp has one alpha for the whole file and computes alpha / r itself; where an adapter has several, the ratio is
multiplied into B. Parts of an adapter that such a file cannot hold are refused by name.

Source: src/llama-adapter.cpp (names, shapes), src/llama-graph.cpp, `build_inp_embd` (A and B of the embedding lie
transposed), llama.cpp 0c1e57098.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np

from genrec_edge.convert.checkpoint.gguf_writer import add_fields, write_header, write_padding
from genrec_edge.convert.checkpoint.tensor_names import EMBEDDING, OUTPUT, gguf_name, row_order
from genrec_edge.errors import ModelInvalidError
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.config import ModelConfig
    from genrec_edge.convert.checkpoint.gguf_writer import MetadataValue
    from genrec_edge.convert.lora.peft_reader import Adapter, Delta


def write_adapter_gguf(
    adapter: Adapter, config: ModelConfig, path: Path, metadata: Mapping[str, MetadataValue]
) -> None:
    """Write an adapter for GGUF models of this config to `path`, as float32. `path` is replaced atomically.

    Pass the result of `merge.drop_copies`; otherwise copies of embeddings that PEFT saves count as trained.

    Raises:
        ModelInvalidError: parts of the adapter can only be merged; the message lists them.
        DiskFullError: the disk is full; `path` is unchanged.
    """
    if problems := list(_unsupported_parts(adapter, config)):
        message = f"{adapter.path} cannot be written as an adapter: {'; '.join(problems)}"
        raise ModelInvalidError(message, hint="merge it into the base instead")
    alpha = _alpha(adapter)
    with atomic_write(path) as file:
        writer = gguf.GGUFWriter(None, config.architecture)
        kind: dict[str, MetadataValue] = {
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": alpha,
        }
        add_fields(writer, {**metadata, **kind})
        for name, shape in _stored_shapes(adapter):
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0] * shape[1])
        write_header(writer, file)
        for name, delta in adapter.deltas.items():
            for matrix in _stored_matrices(name, delta, adapter.weight, alpha, config):
                file.write(np.ascontiguousarray(matrix, np.float32).data)
                write_padding(file)


def _unsupported_parts(adapter: Adapter, config: ModelConfig) -> Iterator[str]:
    for name in {**adapter.replaced, **adapter.replaced_rows}:
        yield f"{name} is replaced, not changed by A and B"
    for name, delta in adapter.deltas.items():
        if delta.magnitude is not None:
            yield f"{name} has DoRA"
        elif config.tied and name in {EMBEDDING, OUTPUT}:
            yield f"{name} is both embedding and output matrix, and only one of them is adapted"
    if all(delta.is_zero for delta in adapter.deltas.values()):
        yield "every B @ A is zero"


def _alpha(adapter: Adapter) -> float:
    """Return the alpha of the file: the most frequent one, so that most factors of B are 1."""
    alphas = [_effective_alpha(delta, adapter.weight) for delta in adapter.deltas.values()]
    alpha = max((a for a in alphas if a), key=alphas.count)
    return float(np.float32(alpha))  # the value after reading it back; B is scaled to match


def _effective_alpha(delta: Delta, weight: float) -> float:
    alpha: float = weight * delta.scale * len(delta.a)
    return alpha


def _stored_shapes(adapter: Adapter) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, delta in adapter.deltas.items():
        (rank, n_in), n_out = delta.a.shape, len(delta.b)
        yield f"{gguf_name(name)}.lora_a", (n_out, rank) if name == EMBEDDING else (rank, n_in)
        yield f"{gguf_name(name)}.lora_b", (n_in, rank) if name == EMBEDDING else (n_out, rank)


def _stored_matrices(
    name: str, delta: Delta, weight: float, alpha: float, config: ModelConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return A and B as they are stored in the file."""
    factor = np.float32(_effective_alpha(delta, weight) / alpha)
    if name == EMBEDDING:
        return delta.b, delta.a.T * factor
    order = row_order(config, name)
    return delta.a, (delta.b if order is None else delta.b[order]) * factor
