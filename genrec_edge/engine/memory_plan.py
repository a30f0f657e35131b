"""How much memory a model and a context take, known from the header of the file before anything is loaded.

llama.cpp asks for memory piece by piece; where one is refused it may end the process, and where it is granted and used
later the system may. So what a model takes is added up first, and compared with what this process may have.

Source: `llama_kv_cache`, `output_reserve` and `graph_reserve` of llama.cpp 0c1e57098, and the sizes that it logs, which
`tests/engine/test_memory_plan.py` compares.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.engine.context import N_SEQUENCES, PIECE
from genrec_edge.errors import OutOfMemoryError
from genrec_edge.gguf.tensors import EMBEDDING, OUTPUT
from genrec_edge.gguf.types import ArrayInfo
from genrec_edge.gguf.validate import model_sizes
from genrec_edge.storage.process_memory import memory_rooms

if TYPE_CHECKING:
    from genrec_edge.gguf.tensors import ModelSizes
    from genrec_edge.gguf.types import GgufHeader

_X86 = frozenset({"x86_64", "AMD64"})
_REPACKED_X86 = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"})
_REPACKED_ELSEWHERE = _REPACKED_X86 | {"Q5_K", "Q6_K", "Q8_0"}
"""Types whose matrices llama.cpp copies in another order. Source: ggml/src/ggml-cpu/repack.cpp."""
_CELLS_TOGETHER = 256  # the context is rounded up to so many cells
_PIECE_BYTES, _MERGE_BYTES = 420, 260  # of a vocabulary in llama.cpp's maps, beside its text
_NODE_BYTES, _NODE_RESERVED_BYTES = 12_000, 190_000  # of the graphs, for each tensor of the model
_FIXED_BYTES = 24 << 20  # the rest of llama.cpp, and what Python holds of the file for a moment
_SERVING_BYTES = 96 << 20  # an index of titles, a catalog and the arrays of a search
_THREAD_BYTES = 9 << 20  # of address space: the stack of a thread, 8 MB unless `ulimit -s` says otherwise


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """What an opened model takes, in bytes.

    Attributes:
        mapped: the file, which the system reads into memory page by page and can drop again.
        weights: what is made of the file: matrices in another order, and the vocabulary.
        cache: the keys and values of the context.
        buffers: what calls of the model compute in: activations, attention, logits.
    """

    mapped: int
    weights: int
    cache: int
    buffers: int

    @property
    def private(self) -> int:
        """What the system cannot take back."""
        return self.weights + self.cache + self.buffers

    @property
    def text(self) -> str:
        """The parts, for a message."""
        parts = {"weights": self.mapped + self.weights, "cache": self.cache, "buffers": self.buffers}
        return ", ".join(f"{_mib(n):,} MiB of {name}" for name, n in parts.items())


def plan_memory(header: GgufHeader, n_ctx: int) -> ModelMemory:
    """Return what a model that has passed `check_runnable` takes with a context of `n_ctx` cells. Reads nothing."""
    sizes = model_sizes(header)
    if sizes is None:
        return ModelMemory(header.file_size, _FIXED_BYTES, 0, 0)
    n_cells = -(-n_ctx // _CELLS_TOGETHER) * _CELLS_TOGETHER
    cache = 2 * sizes.n_layers * n_cells * sizes.kv_width * 2  # keys and values in half floats
    weights = _repacked(header) + _vocabulary(header) + _FIXED_BYTES
    return ModelMemory(header.file_size, weights, cache, _buffers(sizes, header, n_cells))


def require_memory(
    header: GgufHeader, n_ctx: int, *, n_threads: int = 1, adapter_bytes: int = 0, is_clone: bool = False
) -> None:
    """Check that this process may have the memory for a model and a context of `n_ctx` cells, before they are opened.

    Args:
        header: of the model, which has passed `check_runnable`.
        n_ctx: cells of the context.
        n_threads: threads of the context.
        adapter_bytes: the size of a LoRA adapter that is loaded too.
        is_clone: whether the weights are loaded already, and only another context is made.

    Raises:
        OutOfMemoryError: it may not; the message says how much is needed, and what sets the limit.
    """
    plan = plan_memory(header, n_ctx)
    if is_clone:
        plan = ModelMemory(0, 0, plan.cache, plan.buffers)
    resident = plan.private + adapter_bytes + (0 if is_clone else _SERVING_BYTES)
    data = resident + n_threads * _THREAD_BYTES + len(header.tensors) * _NODE_RESERVED_BYTES
    # The file is mapped twice, by llama.cpp and for the output matrix.
    of_kind = {"resident": resident, "data": data, "address space": data + 2 * plan.mapped}
    for room in memory_rooms():
        needed = of_kind[room.kind]
        if needed > room.free_bytes:
            raise OutOfMemoryError(
                f"{header.path} needs about {_mib(needed):,} MiB of memory with a context of {n_ctx:,} tokens"
                f" ({plan.text}), and {room.name} leaves {_mib(max(0, room.free_bytes)):,} MiB",
                hint="give a smaller `n_ctx`, use a smaller model, or raise the limit",
            )


def _repacked(header: GgufHeader) -> int:
    """Return the bytes of matrices that are copied in another order; an embedding is copied for the output if tied."""
    kinds = _REPACKED_X86 if platform.machine() in _X86 else _REPACKED_ELSEWHERE
    is_tied = all(tensor.name != OUTPUT for tensor in header.tensors)
    return sum(t.n_bytes for t in header.tensors if t.type in kinds and (t.name != EMBEDDING or is_tied))


def _vocabulary(header: GgufHeader) -> int:
    """Return the bytes of the vocabulary in llama.cpp, and of the header in Python while it is read."""
    total = 0
    for name, each in (("tokens", _PIECE_BYTES), ("merges", _MERGE_BYTES)):
        array = header.metadata.get(f"tokenizer.ggml.{name}")
        if isinstance(array, ArrayInfo):
            total += array.count * each + 2 * (array.end - array.start)
    return total


def _buffers(sizes: ModelSizes, header: GgufHeader, n_cells: int) -> int:
    """Return the bytes that calls compute in, at `PIECE` tokens and a full cache."""
    n_tokens = min(PIECE, n_cells)
    scores = n_cells * n_tokens * sizes.n_heads
    attention = 4 * (scores + n_cells * n_tokens + n_tokens * (3 * sizes.q_width + 2 * sizes.kv_width))
    hidden = sizes.n_ff
    if sizes.n_experts:
        used = header.metadata.get(f"{sizes.architecture}.expert_used_count", 1)
        hidden = max(hidden, sizes.n_ff * used if isinstance(used, int) else 1)
    feed_forward = 4 * n_tokens * (3 * hidden + sizes.n_embd)
    logits = 4 * N_SEQUENCES * sizes.n_vocab
    residuals = 4 * n_tokens * 4 * sizes.n_embd
    # Beside the graph: the factors of a product as llama.cpp converts them, at most four bytes each.
    work = max(2 * scores, 4 * n_tokens * max(hidden, sizes.q_width, sizes.n_embd))
    graph = _NODE_BYTES * len(header.tensors)
    return max(attention, feed_forward, logits) + residuals + work + logits + graph


def _mib(n_bytes: int) -> int:
    return -(-n_bytes // (1 << 20))
