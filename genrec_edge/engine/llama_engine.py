"""The engine of the search: evaluates one prompt and a tree of short continuations of it.

The prompt lives in sequence 0. A continuation ("run") hangs below the prompt or below the last token of an earlier run,
shares the KV cells of everything above it, and is evaluated together with other runs in one `llama_decode`. Between
prompts the longest common prefix stays in the cache. The engine sees token ids only; it knows nothing of titles.

No product of a model is ever computed of one row alone: llama.cpp multiplies one by other kernels than two or more
(`llamafile_sgemm` of ggml/src/ggml-cpu/llamafile/sgemm.cpp), which add up in another order. A row that would be alone
is given company, a token in a sequence of its own. So a prompt has the same logits, to the last bit, whether it was
evaluated whole, continues an earlier one or was read back.

One engine serves many calls, one at a time: the caller must hold a lock. `cancel` may be called from any thread.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from genrec_edge.coordinates import TokenId
from genrec_edge.engine.batch import TokenBatch
from genrec_edge.engine.bindings import Model, last_error, library
from genrec_edge.engine.context import N_SEQUENCES, PIECE, LlamaContext
from genrec_edge.engine.interrupt import Call, Interrupt
from genrec_edge.engine.kv_tree import KVTree, common_prefix
from genrec_edge.engine.output_head import OutputHead
from genrec_edge.errors import CancelledError, EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from genrec_edge.engine.kv_tree import Placement
    from genrec_edge.engine.output_head import OutputMatrix

MAX_RUN = 256
"""Tokens of one run at most: far more than a forced stretch of a title has."""
_COMPANY_TOKEN = TokenId(0)
_NO_LOGITS = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class TokenRun:
    """Tokens to evaluate below the prompt or an earlier run.

    Attributes:
        parent: `kv_tree.ROOT` or a node that `evaluate` returned.
        token_ids: 1 to `MAX_RUN` tokens.
        keep: whether later runs may hang below this one; if not, its KV cells are free as soon as it is evaluated.
        needed: the token ids whose logits are needed, (n,) int32; None for all.
    """

    parent: int
    token_ids: tuple[TokenId, ...]
    keep: bool = True
    needed: NDArray[np.int32] | None = None


@dataclass(slots=True)
class EngineUsage:
    """What the engine did: tokens given to the model, calls of `llama_decode`, seconds inside them."""

    tokens: int = 0
    calls: int = 0
    seconds: float = 0.0


class LlamaEngine:
    """Evaluates a prompt and runs below it; see the module text.

    Args:
        model: a loaded model. The engine closes it in `close`, unless it is borrowed.
        output_rows: the model's output matrix, if logits may be computed without llama.cpp.
        n_ctx: KV cells: prompt plus the live part of the search tree. At most what the model was trained for.
        n_threads: threads for the matrix products.

    Raises:
        UsageError: n_ctx or n_threads out of range.
        OutOfMemoryError: llama.cpp could not create the context.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int,
        n_threads: int,
        output_rows: OutputMatrix | None = None,
        is_borrowed: bool = False,
    ) -> None:
        self.model = model
        self.n_ctx = n_ctx
        self.n_threads = n_threads
        self.n_vocab = model.n_vocab
        self.usage = EngineUsage()
        self._interrupt = Interrupt()
        self._call: Call | None = None
        self._company = N_SEQUENCES - 1  # the last sequence, the others are the tree's
        self._tree = KVTree(self._company)
        self._prompt: list[TokenId] = []
        self._prompt_logits: NDArray[np.float32] | None = None
        self._is_settled = True  # prompt and tree are what the cache holds
        self._batch = TokenBatch(library(), PIECE)
        self._output_rows = output_rows
        self._head = OutputHead.of(output_rows)
        self._is_borrowed = is_borrowed
        self._context = LlamaContext(
            model,
            n_ctx=n_ctx,
            n_threads=n_threads,
            n_sequences=N_SEQUENCES,
            interrupt=self._interrupt,
            head=self._head,
        )

    def clone(self) -> Self:
        """Return an engine with a cache of its own and one thread, which borrows the weights: close it before this."""
        return type(self)(self.model, n_ctx=self.n_ctx, n_threads=1, output_rows=self._output_rows, is_borrowed=True)

    def prompt(self, token_ids: Sequence[TokenId]) -> tuple[NDArray[np.float32], int]:
        """Make `token_ids` the prompt and drop all runs; only what differs from the last prompt is evaluated.

        Returns:
            The logits after the prompt, (n_vocab,) float32, and how many tokens came from the cache.

        Raises:
            UsageError: the prompt is empty, leaves no room in the context, or has a token that does not exist.
            CancelledError, DeadlineError: interrupted; the cache is empty afterwards.
        """
        if not 0 < len(token_ids) < self.n_ctx:
            raise UsageError(
                f"a prompt must have 1 to {self.n_ctx - 1} tokens in a context of {self.n_ctx}, got {len(token_ids)}"
            )
        self._check_tokens(token_ids)
        same = self.known(token_ids)
        self.drop_runs()
        if same == len(token_ids) and same == len(self._prompt) and self._prompt_logits is not None:
            return self._prompt_logits, same
        same = min(same, len(token_ids) - 1)  # at least one token is evaluated, for its logits
        with self._changing():
            self._context.remove(0, same)
            del self._prompt[same:]
            self._prompt_logits = None
            if self._decode_in_pieces(token_ids[same:], same, 0, PIECE) != 0:
                raise EngineError("the empty KV cache has no room for the prompt")
            self._prompt += token_ids[same:]
            self._tree.reset(len(self._prompt))
            self._prompt_logits = self._context.logits(1)[0].copy()
        return self._prompt_logits, same

    def known(self, token_ids: Sequence[TokenId]) -> int:
        """Return how many tokens of a prompt the cache holds from the last one."""
        if not self._is_settled:
            self.forget()
        return common_prefix(self._prompt, token_ids)

    def state(self) -> bytes:
        """Return the KV cells of the prompt in llama.cpp's own form, for `restore`.

        Raises:
            EngineError: llama.cpp could not write them.
        """
        return self._context.read_cells(0)

    def restore(self, token_ids: Sequence[TokenId], state: bytes) -> bool:
        """Fill the cache with the KV cells of a prompt that `state` returned; if they do not fit, empty it.

        They must be of this very model and adapter and not damaged: llama.cpp does not check.

        Returns:
            Whether they fit.
        """
        self.forget()
        if not 0 < len(token_ids) < self.n_ctx:
            return False
        with self._changing():
            fits = self._context.write_cells(0, state) and self._context.length(0) == len(token_ids)
            self._prompt = list(token_ids)
        if not fits:
            self.forget()
        return fits

    def evaluate(
        self, runs: Sequence[TokenRun], worth: Callable[[int], float] = lambda _node: 0.0
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Evaluate runs, as many as fit in each call of the model, and yield (node, logits) for each in order.

        The logits after the run's last token are those of the tokens in its `needed`, in that order, else (n_vocab,);
        float32, and a view that ends when the next item is taken.
        `worth` says how likely a node is to be a parent again: the least is evicted from a full cache.

        Raises:
            UsageError: a run is empty or too long, or has a token that does not exist.
            EngineError: the cache has no room even for a single run.
            CancelledError, DeadlineError: interrupted; the cache is empty afterwards.
        """
        if not self._is_settled:
            raise EngineError("the engine has no prompt, since its last call was interrupted")
        pending = list(runs)
        for run in pending:
            if not 0 < len(run.token_ids) <= MAX_RUN:
                raise UsageError(f"a run must have 1 to {MAX_RUN} tokens, got {len(run.token_ids)}")
            self._check_tokens(run.token_ids)
        while pending:
            with self._changing():
                placed = self._fill(pending, worth)
                together = pending[: len(placed)]
                needed = [run.needed for run in together if run.needed is not None]
                head = self._head if len(needed) == len(placed) else None
                has_room = bool(placed) and self._decode_runs(placed, stop_before_logits=head is not None) == 0
            if not has_room:
                yield from self._evaluate_in_less_room(pending, placed, worth)
                return
            rows = self._rows(len(placed), head, needed)
            for run, place, row in zip(together, placed, rows, strict=True):
                logits = row
                if head is None and run.needed is not None:
                    logits = row[run.needed]
                yield place.node, logits
                if not run.keep:
                    self._drop(place.node)
            del pending[: len(placed)]

    def _evaluate_in_less_room(
        self, runs: list[TokenRun], placed: list[Placement], worth: Callable[[int], float]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Evaluate runs after the cache turned out too full: without older branches, then a few at a time."""
        with self._changing():
            for place in placed:
                self._free(self._tree.drop(place.node))
            has_dropped = self._drop_all()
        if has_dropped:
            yield from self.evaluate(runs, worth)
        elif len(runs) > 1:
            for run in runs:
                yield from self.evaluate([run], worth)
        else:
            raise self._no_room(runs[0])

    def drop_runs(self) -> None:
        """Forget every run, and keep the prompt."""
        with self._changing():
            self._drop_all()
            self._tree.reset(len(self._prompt))

    def forget(self) -> None:
        """Forget prompt and runs: what follows is computed as by a new engine, to the last bit."""
        self._is_settled = False
        self._context.clear()
        self._prompt, self._prompt_logits = [], None
        self._tree.reset(0)
        self._is_settled = True

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

    def close(self) -> None:
        """Free context and weights; closing twice is allowed."""
        self._context.close()
        if not self._is_borrowed:
            self.model.close()

    def _check_tokens(self, token_ids: Sequence[TokenId]) -> None:
        if not 0 <= min(token_ids) <= max(token_ids) < self.n_vocab:
            raise UsageError(f"the token ids of a prompt or run must be from 0 to {self.n_vocab - 1}")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change the cache and what is known of it together: after an exception in the block, all is forgotten."""
        self._is_settled = False
        yield
        self._is_settled = True

    def _fill(self, runs: list[TokenRun], worth: Callable[[int], float]) -> list[Placement]:
        """Place as many of `runs` as fit in one call, in order; one that no call has room for is placed alone."""
        self._tree.begin_batch()
        placed: list[Placement] = []
        room = PIECE
        for run in runs[: self._company]:  # llama.cpp reserves a row of logits for each sequence
            place = self._tree.place(run.parent, run.token_ids, room=room if placed else self.n_ctx, worth=worth)
            if place is None:
                break
            if place.evicted:
                self._free(place.sequence)
            self._context.copy_prefix(place.copy_from, place.sequence, place.start)
            placed.append(place)
            room -= len(place.token_ids)
            if room <= 0:
                break
        return placed

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

    def _no_room(self, run: TokenRun) -> EngineError:
        n_run = len(self._tree.path(run.parent)) + len(run.token_ids)
        message = f"a context of {self.n_ctx} tokens has no room for the search"
        return EngineError(
            f"{message}: the prompt has {len(self._prompt)}, a title or question {n_run}",
            hint="give a larger `n_ctx`, or a shorter history"
            if self.n_ctx < self.model.n_ctx_train
            else "give a shorter history, or use a model with a larger context",
        )

    def _drop(self, node: int) -> None:
        with self._changing():
            self._free(self._tree.drop(node))

    def _drop_all(self) -> bool:
        """Free the sequences of all runs; return whether there were any."""
        dropped = self._tree.drop_all()
        for sequence in dropped:
            self._free(sequence)
        return bool(dropped)

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
