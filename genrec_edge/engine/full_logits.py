"""A model's logits at every position of a text, for the checks of a conversion and for importance matrices.

Not for the search, which needs the last position of many short branches and keeps its cache: see `llama_engine.py`.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.engine.bindings import Model, called, last_error, library, logged
from genrec_edge.engine.context import MAX_THREADS
from genrec_edge.engine.forks import note_threads, refuse_fork, refuse_threads_after_fork
from genrec_edge.engine.interrupt import Interrupt
from genrec_edge.engine.run_apart import run_apart
from genrec_edge.errors import EngineError, OutOfMemoryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_MAX_CTX = 1 << 20


class FullLogitsModel:
    """Evaluates whole token sequences, each from an empty cache. Not thread-safe; closes its model.

    Args:
        model: a loaded model.
        n_ctx: the longest sequence, in tokens; its logits take 4 * n_vocab bytes a token.
        f32_cache: keep keys and values in float32; in half floats, as the product has them, they are rounded.
        on_tensor: a callback of type `ggml_backend_sched_eval_callback` that sees every operation of the graph.

    Raises:
        UsageError: a number is out of range.
        OutOfMemoryError: llama.cpp could not create the context.
    """

    def __init__(
        self, model: Model, *, n_ctx: int, n_threads: int, f32_cache: bool = False, on_tensor: Any = None
    ) -> None:
        for name, number, most in (("n_ctx", n_ctx, _MAX_CTX), ("n_threads", n_threads, MAX_THREADS)):
            if not 1 <= number <= most:
                model.close()
                raise UsageError(f"`{name}` must be from 1 to {most}, got {number}")
        refuse_threads_after_fork(n_threads)
        self._pid, self._n_threads = os.getpid(), n_threads
        self.model = model
        self._lib = lib = library()
        params = lib.llama_context_default_params()
        self._n_ctx = n_ctx
        params.n_ctx = params.n_batch = params.n_ubatch = params.n_outputs_max = n_ctx
        params.n_seq_max = 1
        self._interrupt = Interrupt()
        params.abort_callback, params.abort_callback_data = self._interrupt.callback, self._interrupt.data
        params.n_threads = params.n_threads_batch = n_threads
        params.no_perf = True
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED  # as in the search engine
        if f32_cache:
            params.type_k = params.type_v = lib.GGML_TYPE_F32
        if on_tensor is not None:
            params.cb_eval = on_tensor
        self._on_tensor = on_tensor  # ctypes does not hold on to it
        self._context, why = called(lambda: lib.llama_init_from_model(model.handle, params))
        if not self._context:
            model.close()
            raise OutOfMemoryError(f"llama.cpp could not create a context of {n_ctx} tokens{why}")
        self._memory = lib.llama_get_memory(self._context)

    def logits(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits after each token, a new (n, n_vocab) float32 array.

        Raises:
            UsageError: no tokens, more than `n_ctx`, or one that does not exist.
            ForkError: this process is a fork of the one that opened the model.
        """
        n = len(token_ids)
        if not 0 < n <= self._n_ctx:
            raise UsageError(f"a sequence must have 1 to {self._n_ctx} tokens, got {n}")
        if not 0 <= min(token_ids) <= max(token_ids) < self.model.n_vocab:
            raise UsageError(f"the token ids of a sequence must be from 0 to {self.model.n_vocab - 1}")
        refuse_fork(self._pid, "this model")
        note_threads(self._n_threads)
        return run_apart(lambda: self._evaluate(token_ids), self._interrupt.raise_flag)

    def _evaluate(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        n, lib = len(token_ids), self._lib
        self._interrupt.lower_flag()
        lib.llama_memory_clear(self._memory, True)  # noqa: FBT003
        batch = lib.llama_batch_init(n, 0, 1)
        try:
            batch.n_tokens = n
            for i, token_id in enumerate(token_ids):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = token_id, i, 1
                batch.seq_id[i][0], batch.logits[i] = 0, 1
            if (code := logged(lambda: int(lib.llama_decode(self._context, batch)), quiet={2})) != 0:
                raise EngineError(f"llama_decode failed with code {code}{last_error()}")
        finally:
            lib.llama_batch_free(batch)
        pointer = ctypes.cast(lib.llama_get_logits(self._context), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, (n, self.model.n_vocab)).copy()

    def close(self) -> None:
        """Free context and weights; closing twice is allowed."""
        if self._context:
            self._lib.llama_free(self._context)
            self._context = None
        self.model.close()
