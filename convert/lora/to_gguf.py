"""A LoRA adapter as a GGUF that llama.cpp applies while it runs the base, without a merge.

llama.cpp knows one alpha for the whole file and computes alpha / r itself; where an adapter has more than one, the
ratio goes into B. What has no place in such a file is refused by name.

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
    """Write an adapter for GGUF models of this config to `path`, as float32, whole or not at all.

    Give it the result of `merge.drop_copies`; else the copies of embeddings that PEFT saves count as trained.

    Raises:
        ModelInvalidError: part of the adapter can only be merged; the message lists what.
        DiskFullError: no room; `path` is as it was.
    """
    if problems := list(_only_merged(adapter, config)):
        message = f"{adapter.path} cannot be written as an adapter: {'; '.join(problems)}"
        raise ModelInvalidError(message, hint="leave --as-adapter out: it can be merged into the base")
    alpha = _alpha(adapter)
    with atomic_write(path) as file:
        writer = gguf.GGUFWriter(None, config.architecture)
        kind: dict[str, MetadataValue] = {
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": alpha,
        }
        add_fields(writer, {**metadata, **kind})
        for name, shape in _shapes(adapter):
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0] * shape[1])
        write_header(writer, file)
        for name, delta in adapter.deltas.items():
            for matrix in _pair(name, delta, adapter.weight, alpha, config):
                file.write(np.ascontiguousarray(matrix, np.float32).data)
                write_padding(file)


def _only_merged(adapter: Adapter, config: ModelConfig) -> Iterator[str]:
    for name in {**adapter.replaced, **adapter.replaced_rows}:
        yield f"{name} is replaced, not changed by A and B"
    for name, delta in adapter.deltas.items():
        if delta.magnitude is not None:
            yield f"{name} has DoRA"
        elif config.tied and name in {EMBEDDING, OUTPUT}:
            yield f"{name} is embedding and output in one, which cannot be adapted apart"
    if all(delta.is_zero for delta in adapter.deltas.values()):
        yield "every B @ A is zero"


def _alpha(adapter: Adapter) -> float:
    """Return the alpha of the file: the one with which most factors of B become 1."""
    alphas = [_own_alpha(delta, adapter.weight) for delta in adapter.deltas.values()]
    alpha = max((a for a in alphas if a), key=alphas.count)
    return float(np.float32(alpha))  # as it will be read; B is scaled to match


def _own_alpha(delta: Delta, weight: float) -> float:
    alpha: float = weight * delta.scale * len(delta.a)
    return alpha


def _shapes(adapter: Adapter) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, delta in adapter.deltas.items():
        (rank, into), out = delta.a.shape, len(delta.b)
        yield f"{gguf_name(name)}.lora_a", (out, rank) if name == EMBEDDING else (rank, into)
        yield f"{gguf_name(name)}.lora_b", (into, rank) if name == EMBEDDING else (out, rank)


def _pair(
    name: str, delta: Delta, weight: float, alpha: float, config: ModelConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return A and B as they lie in the file."""
    factor = np.float32(_own_alpha(delta, weight) / alpha)
    if name == EMBEDDING:
        return delta.b, delta.a.T * factor
    order = row_order(config, name)
    return delta.a, (delta.b if order is None else delta.b[order]) * factor
