"""One llama.cpp context: how it is created, and what is done with the sequences of its KV cache.

A context evaluates token batches. Its cells are tagged with sequences; a cell can belong to several, so branches share
the cells of what they have in common. Knows nothing of prompts and trees.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.engine.bindings import called, library, logged
from genrec_edge.engine.forks import is_forked, note_threads, refuse_fork, refuse_threads_after_fork
from genrec_edge.errors import EngineError, OutOfMemoryError, UsageError
from genrec_edge.storage.process_memory import require_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.engine.batch import TokenBatch
    from genrec_edge.engine.bindings import Model
    from genrec_edge.engine.interrupt import Interrupt
    from genrec_edge.engine.output_head import OutputHead

N_SEQUENCES = 128
"""KV sequences, the prompt's included. More would save re-evaluation in very wide searches, and cost an output row
(4 bytes a vocabulary entry) each: llama.cpp reserves one row a sequence. Source: src/llama-context.cpp:2120."""
MAX_THREADS = 512
"""Source: GGML_MAX_N_THREADS in ggml/include/ggml.h (llama.cpp 0c1e57098)."""
PIECE = 256
"""Tokens of one `llama_decode` at most, all computed together; the compute buffers grow with it. A context has at least
as many cells: llama.cpp takes no more tokens at once than that, and a batch that is too long ends the process."""
_MAX_SEQUENCES = 256
"""Source: LLAMA_MAX_SEQ in src/llama-cparams.h (llama.cpp 0c1e57098); a larger id ends the process."""
_EXPECTED_CODES = frozenset({1, 2})


class LlamaContext:
    """A context of a model, created with its adapter.

    Args:
        model: a loaded model.
        n_ctx: KV cells, at least `PIECE`.
        n_threads: threads for the matrix products.
        n_sequences: KV sequences, which is also how many rows of logits a call can give.
        interrupt: what ends a running call; it must live as long as the context.
        head: what takes the last hidden states of calls, or None; it must live as long as the context.

    Raises:
        UsageError: a number is out of range.
        OutOfMemoryError: llama.cpp could not create the context, or may not have the threads.
        ForkError: several threads, in a fork of a process that has computed with several.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int,
        n_threads: int,
        n_sequences: int,
        interrupt: Interrupt,
        head: OutputHead | None,
    ) -> None:
        for name, number, low, high in (
            ("n_ctx", n_ctx, PIECE, model.n_ctx_train),
            ("n_threads", n_threads, 1, MAX_THREADS),
            ("n_sequences", n_sequences, 2, _MAX_SEQUENCES),
        ):
            if not low <= number <= high:
                raise UsageError(f"`{name}` must be from {low} to {high}, got {number}")
        refuse_threads_after_fork(n_threads)
        require_threads(n_threads - 1)
        self._pid, self._n_threads = os.getpid(), n_threads
        self._lib = lib = library()
        self._n_vocab = model.n_vocab
        params = lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = PIECE
        params.n_seq_max = params.n_outputs_max = n_sequences
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = True  # branches share the prompt's cells; without it a partial seq_cp aborts
        params.no_perf = True
        # Flash attention on CPUs rounds to half floats in an order that depends on the batch: one title's score
        # differed by 0.8 nats between two batches, against 0.0006 without it (SmolLM2-135M Q8_0).
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.abort_callback = interrupt.callback
        params.abort_callback_data = interrupt.data
        if head is not None:
            params.cb_eval = head.callback
        self._handle, why = called(lambda: lib.llama_init_from_model(model.handle, params))
        if not self._handle:
            raise OutOfMemoryError(
                f"llama.cpp could not create a context of {n_ctx} tokens{why}", hint="give a smaller `n_ctx`"
            )
        model.apply_adapter(self._handle)
        self._memory = lib.llama_get_memory(self._handle)

    def decode(self, batch: TokenBatch) -> int:
        """Evaluate a batch and return llama.cpp's code: 0 done, 1 no room in the cache, 2 interrupted, else failed.

        What llama.cpp logs of 1 and 2, which are no errors, is logged at DEBUG.

        Raises:
            EngineError: it is empty, or longer than `PIECE`.
            ForkError: this process is a fork of the one that created the context.
        """
        refuse_fork(self._pid, "this context")
        note_threads(self._n_threads)
        if not 0 < batch.n <= PIECE:
            raise EngineError(f"a batch must have 1 to {PIECE} tokens, got {batch.n}")
        return logged(lambda: int(self._lib.llama_decode(self._handle, batch.struct)), quiet=_EXPECTED_CODES)

    def logits(self, n: int) -> NDArray[np.float32]:
        """Return the logits of the last call's `n` outputs, (n, n_vocab): a view that ends with the next call."""
        return np.ctypeslib.as_array(self._lib.llama_get_logits(self._handle), (n, self._n_vocab))

    def copy_prefix(self, source: int, target: int, n: int) -> None:
        """Have the sequence `target` share the first `n` cells of the sequence `source`."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, n)

    def remove(self, sequence: int, start: int = 0) -> None:
        """Take the cells from position `start` on out of a sequence; those that no other sequence has are free."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def clear(self) -> None:
        """Empty the cache."""
        self._lib.llama_memory_clear(self._memory, False)  # noqa: FBT003

    def length(self, sequence: int) -> int:
        """Return how many positions a sequence has."""
        return int(self._lib.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def read_cells(self, sequence: int) -> bytes:
        """Return the cells of a sequence in llama.cpp's own form, for `write_cells`.

        Raises:
            EngineError: llama.cpp could not write them.
        """
        size = int(self._lib.llama_state_seq_get_size(self._handle, sequence))
        buffer = (ctypes.c_uint8 * size)()
        if int(self._lib.llama_state_seq_get_data(self._handle, buffer, size, sequence)) != size:
            raise EngineError("llama.cpp could not write the KV cells of the prompt")
        return bytes(buffer)

    def write_cells(self, sequence: int, cells: bytes) -> bool:
        """Fill an empty sequence with cells that `read_cells` returned; return whether llama.cpp took all of them.

        They must be of this very model and adapter and not damaged: llama.cpp does not check.
        """
        buffer = (ctypes.c_uint8 * len(cells)).from_buffer_copy(cells)
        return int(self._lib.llama_state_seq_set_data(self._handle, buffer, len(cells), sequence)) == len(cells)

    def close(self) -> None:
        """Free the context; closing twice is allowed."""
        if self._handle and not is_forked(self._pid):
            self._lib.llama_free(self._handle)
            self._handle = None
