"""The engine of the search: evaluates one prompt and a tree of short continuations of it.

The prompt lives in sequence 0. A continuation ("run") hangs below the prompt or below the last token of an earlier run,
shares the KV cells of everything above it, and is evaluated together with other runs in one `llama_decode`. Between
prompts the longest common prefix stays in the cache. The engine sees token ids only; it knows nothing of titles.

One engine serves many calls, one at a time: the caller must hold a lock. `cancel` may be called from any thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from genrec_edge.engine.context import N_SEQUENCES, PIECE
from genrec_edge.engine.evaluator import Evaluator
from genrec_edge.engine.kv_tree import KVTree, common_prefix
from genrec_edge.engine.output_head import OutputHead
from genrec_edge.errors import EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.coordinates import TokenId
    from genrec_edge.engine.bindings import Model
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


class LlamaEngine(Evaluator):
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
        super().__init__(
            model, n_ctx=n_ctx, n_threads=n_threads, n_sequences=N_SEQUENCES, head=OutputHead.of(output_rows)
        )
        self._output_rows = output_rows
        self._is_borrowed = is_borrowed
        self._tree = KVTree(self._company)
        self._prompt: list[TokenId] = []
        self._prompt_logits: NDArray[np.float32] | None = None
        self._is_settled = True  # prompt and tree are what the cache holds

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
        super().forget()
        self._prompt, self._prompt_logits = [], None
        self._tree.reset(0)
        self._is_settled = True

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
