"""Evaluation of tokens in one context, none of them alone, and its end by a deadline or from another thread.

No product of a model is ever computed of one row alone: llama.cpp multiplies one by other kernels than two or more
(`llamafile_sgemm` of ggml/src/ggml-cpu/llamafile/sgemm.cpp), which add up in another order. A row that would be alone
is given company, a token in a sequence of its own. So a prompt has the same logits, to the last bit, whether it was
evaluated whole, continues an earlier one or was read back (docs/decisions/0001-no-flash-attention.md).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import TokenId
from genrec_edge.engine.batch import TokenBatch
from genrec_edge.engine.bindings import last_error, library
from genrec_edge.engine.context import PIECE, LlamaContext
from genrec_edge.engine.interrupt import Call, Interrupt
from genrec_edge.errors import CancelledError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from genrec_edge.engine.bindings import Model
    from genrec_edge.engine.kv_tree import Placement
    from genrec_edge.engine.output_head import OutputHead

_COMPANY_TOKEN = TokenId(0)
_NO_LOGITS = np.empty(0, np.int32)


@dataclass(slots=True)
class EngineUsage:
    """What the engine did: tokens given to the model, calls of `llama_decode`, seconds inside them."""

    tokens: int = 0
    calls: int = 0
    seconds: float = 0.0


class Evaluator:
    """A context that evaluates tokens of sequences; `LlamaEngine` says which.

    Args:
        model: a loaded model.
        n_ctx: KV cells, from `PIECE` to what the model was trained for.
        n_threads: threads for the matrix products.
        n_sequences: KV sequences; the last one is for company.
        head: computes logits without llama.cpp, or None.

    Raises:
        UsageError: a number is out of range.
        OutOfMemoryError: llama.cpp could not create the context.
        ForkError: several threads, in a fork of a process that has computed with several.
    """

    def __init__(self, model: Model, *, n_ctx: int, n_threads: int, n_sequences: int, head: OutputHead | None) -> None:
        self.model = model
        self.n_ctx = n_ctx
        self.n_threads = n_threads
        self.n_vocab = model.n_vocab
        self.usage = EngineUsage()
        self._call: Call | None = None
        self._interrupt = Interrupt()
        self._head = head
        self._company = n_sequences - 1
        self._batch = TokenBatch(library(), PIECE)
        self._context = LlamaContext(
            model, n_ctx=n_ctx, n_threads=n_threads, n_sequences=n_sequences, interrupt=self._interrupt, head=head
        )

    def forget(self) -> None:
        """Empty the cache."""
        self._context.clear()

    def deadline(self, seconds: float | None) -> AbstractContextManager[None]:
        """End evaluation in the block with DeadlineError once `seconds` have passed; None sets no limit."""
        return self.during(Call(seconds))

    @contextmanager
    def during(self, call: Call) -> Iterator[None]:
        """Let evaluation in the block end when a call is ended."""
        self._call = call
        try:
            with call.on(self._interrupt):
                yield
        finally:
            self._call = None

    def check(self) -> None:
        """Raise the error that the call of `during` was ended with, if it was, for work between evaluations."""
        if self._call is not None:
            self._call.check()

    def cancel(self) -> None:
        """End the running call with CancelledError, from any thread; without one nothing happens."""
        if (call := self._call) is not None:
            call.end(CancelledError)

    def _decode_runs(self, placed: Sequence[Placement], *, stop_before_logits: bool) -> int:
        """Evaluate what `_fill` placed; return 0, or 1 if the cache has no room for it."""
        if len(placed) == 1:
            place = placed[0]
            return self._decode_in_pieces(
                place.token_ids, place.start, place.sequence, PIECE - 1, stop_before_logits=stop_before_logits
            )
        self._batch.clear()
        for place in placed:
            self._batch.add(place.token_ids, place.start, place.sequence, with_logits=True)
        return self._decode(stop_before_logits=stop_before_logits)

    def _decode_in_pieces(
        self, token_ids: Sequence[TokenId], start: int, sequence: int, most: int, *, stop_before_logits: bool = False
    ) -> int:
        """Evaluate tokens of one sequence, `most` at a time, for the logits of the last; return 0, or 1 as `_decode`.

        A run gets company for its row of logits: others were evaluated beside others. A prompt never had any.
        """
        for done in range(0, len(token_ids), most):
            piece = token_ids[done : done + most]
            is_last = done + len(piece) == len(token_ids)
            self._batch.clear()
            self._batch.add(piece, start + done, sequence, with_logits=is_last)
            is_run = sequence != 0
            needs_company = len(piece) == 1 or (is_run and is_last)
            if needs_company:
                self._batch.add([_COMPANY_TOKEN], 0, self._company, with_logits=is_run and is_last)
            code = self._decode(stop_before_logits=stop_before_logits and is_last)
            if needs_company:
                self._free(self._company)
                self.usage.tokens -= code == 0
            if code != 0:
                return code
        return 0

    def _rows(
        self, n_runs: int, head: OutputHead | None, needed: list[NDArray[np.int32]]
    ) -> Sequence[NDArray[np.float32]]:
        """Return the logits of the runs that were evaluated, without those of their company."""
        n_outputs = max(n_runs, 2)
        if head is None:
            return list(self._context.logits(n_outputs)[:n_runs])
        return head.logits([*needed, *[_NO_LOGITS] * (n_outputs - n_runs)])[:n_runs]

    def _free(self, sequence: int | None) -> None:
        if sequence is not None:
            self._context.remove(sequence)

    def _decode(self, *, stop_before_logits: bool = False) -> int:
        """Run the batch; return 0, or 1 if the cache has no room for it (nothing was evaluated)."""
        self.check()
        if self._head is not None:
            self._head.begin(stop_before_logits=stop_before_logits)
        started = time.perf_counter()
        code = self._context.decode(self._batch)
        self.usage.seconds += time.perf_counter() - started
        if code in (0, 1):
            self.usage.calls += 1
            self.usage.tokens += self._batch.n if code == 0 else 0
            return code
        self.forget()  # finished parts of the batch may have stayed in the cache: only an empty one is certain
        if code == 2:
            self.check()
        raise EngineError(f"llama_decode failed with code {code}{last_error()}")
