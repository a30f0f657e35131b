"""The engine of the search: evaluates one prompt and a tree of short continuations of it.

The prompt lives in sequence 0. A continuation ("run") hangs below the prompt or below the last token of an earlier run,
shares the KV cells of everything above it, and is evaluated together with other runs in one `llama_decode`. Between
prompts the longest common prefix stays in the cache. The engine sees token ids only; it knows nothing of titles.

One engine serves many calls, one at a time: the caller must hold a lock. `cancel` may be called from any thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from genrec_edge.engine.batch import TokenBatch
from genrec_edge.engine.bindings import Model, last_error, library
from genrec_edge.engine.context import N_BATCH, N_SEQUENCES, PIECE, LlamaContext
from genrec_edge.engine.interrupt import Interrupt
from genrec_edge.engine.kv_tree import KVTree, common_prefix
from genrec_edge.engine.output_head import OutputHead
from genrec_edge.errors import CancelledError, EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.coordinates import TokenId
    from genrec_edge.engine.kv_tree import Placement
    from genrec_edge.engine.output_head import OutputMatrix

MAX_RUN = 256
"""Tokens of one run at most: far more than a forced stretch of a title has."""


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
        if not 1 <= n_threads <= 512:
            raise UsageError(f"`n_threads` must be from 1 to 512, got {n_threads}")
        if not PIECE <= n_ctx <= model.n_ctx_train:
            raise UsageError(f"`n_ctx` must be from {PIECE} to {model.n_ctx_train} for this model, got {n_ctx}")
        self.model = model
        self.n_ctx = n_ctx
        self.n_threads = n_threads
        self.n_vocab = model.n_vocab
        self.usage = EngineUsage()
        self._interrupt = Interrupt()
        self._tree = KVTree(N_SEQUENCES)
        self._prompt: list[TokenId] = []
        self._prompt_logits: NDArray[np.float32] | None = None
        self._batch = TokenBatch(library(), N_BATCH)
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
        self.drop_runs()
        same = self.known(token_ids)
        if same == len(token_ids) and same == len(self._prompt) and self._prompt_logits is not None:
            return self._prompt_logits, same
        same = min(same, len(token_ids) - 1)  # at least one token is evaluated, for its logits
        self._context.remove(0, same)
        del self._prompt[same:]
        self._prompt_logits = None
        while len(self._prompt) < len(token_ids):
            start = len(self._prompt)
            piece = list(token_ids[start : start + PIECE])
            self._batch.clear()
            self._batch.add(piece, start, 0, with_logits=start + len(piece) == len(token_ids))
            if self._decode() != 0:
                raise EngineError("the empty KV cache has no room for the prompt")
            self._prompt += piece
        self._tree.reset(len(self._prompt))
        self._prompt_logits = self._context.logits(1)[0].copy()
        return self._prompt_logits, same

    def known(self, token_ids: Sequence[TokenId]) -> int:
        """Return how many tokens of a prompt the cache holds from the last one."""
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
        if not self._context.write_cells(0, state) or self._context.length(0) != len(token_ids):
            self.forget()
            return False
        self._prompt = list(token_ids)
        return True

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
        pending = list(runs)
        for run in pending:
            if not 0 < len(run.token_ids) <= MAX_RUN:
                raise UsageError(f"a run must have 1 to {MAX_RUN} tokens, got {len(run.token_ids)}")
            self._check_tokens(run.token_ids)
        while pending:
            placed = self._fill(pending, worth)
            together = pending[: len(placed)]
            needed = [run.needed for run in together if run.needed is not None]
            head = self._head if len(needed) == len(placed) else None
            if not placed or self._decode(stop_before_logits=head is not None) != 0:
                yield from self._evaluate_in_less_room(pending, placed, worth)
                return
            rows = self._context.logits(len(placed)) if head is None else head.logits(needed)
            for run, place, row in zip(together, placed, rows, strict=True):
                logits = row
                if head is None and run.needed is not None:
                    logits = row[run.needed]
                yield place.node, logits
                if not run.keep:
                    self._free(self._tree.drop(place.node))
            del pending[: len(placed)]

    def _evaluate_in_less_room(
        self, runs: list[TokenRun], placed: list[Placement], worth: Callable[[int], float]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Evaluate runs after the cache turned out too full: without older branches, then a few at a time."""
        for place in placed:
            self._free(self._tree.drop(place.node))
        older = self._tree.drop_all()
        for sequence in older:
            self._free(sequence)
        if older:
            yield from self.evaluate(runs, worth)
        elif len(runs) > 1:
            for run in runs:
                yield from self.evaluate([run], worth)
        else:
            raise EngineError(
                f"a context of {self.n_ctx} tokens has no room for the search", hint="give a larger `n_ctx`"
            )

    def drop_runs(self) -> None:
        """Forget every run, and keep the prompt."""
        for sequence in self._tree.drop_all():
            self._free(sequence)
        self._tree.reset(len(self._prompt))

    def forget(self) -> None:
        """Forget prompt and runs: what follows is computed as by a new engine, to the last bit."""
        self._context.clear()
        self._prompt, self._prompt_logits = [], None
        self._tree.reset(0)

    def deadline(self, seconds: float | None) -> AbstractContextManager[None]:
        """Interrupt evaluation in the block with DeadlineError once `seconds` have passed; None sets no limit."""
        return self._interrupt.deadline(seconds)

    def raise_if_interrupted(self) -> None:
        """Raise DeadlineError or CancelledError if the call that is running is to end; for work beside llama.cpp."""
        self._interrupt.raise_reason()

    def cancel(self) -> None:
        """Interrupt the running evaluation with CancelledError, from any thread; without one nothing happens."""
        self._interrupt.set(CancelledError)

    def close(self) -> None:
        """Free context and weights; closing twice is allowed."""
        self._context.close()
        if not self._is_borrowed:
            self.model.close()

    def _check_tokens(self, token_ids: Sequence[TokenId]) -> None:
        if not 0 <= min(token_ids) <= max(token_ids) < self.n_vocab:
            raise UsageError(f"the token ids of a prompt or run must be from 0 to {self.n_vocab - 1}")

    def _fill(self, runs: list[TokenRun], worth: Callable[[int], float]) -> list[Placement]:
        """Put as many of `runs` into the batch as fit and return where they went, in order."""
        self._batch.clear()
        self._tree.begin_batch()
        placed: list[Placement] = []
        for run in runs[:N_SEQUENCES]:  # llama.cpp reserves that many rows of logits
            place = self._tree.place(run.parent, run.token_ids, room=N_BATCH - self._batch.n, worth=worth)
            if place is None:
                break
            if place.evicted:
                self._free(place.sequence)
            self._context.copy_prefix(place.copy_from, place.sequence, place.start)
            self._batch.add(place.token_ids, place.start, place.sequence, with_logits=True)
            placed.append(place)
        return placed

    def _free(self, sequence: int | None) -> None:
        if sequence is not None:
            self._context.remove(sequence)

    def _decode(self, *, stop_before_logits: bool = False) -> int:
        """Run the batch; return 0, or 1 if the cache has no room for it (nothing was evaluated)."""
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
            self._interrupt.raise_reason()
        raise EngineError(f"llama_decode failed with code {code}{last_error()}")
