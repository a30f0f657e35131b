"""Systems that rank the items of a data set after a history: language models, and whatever gives items scores.

They speak of item indexes, as data sets and splits do. The items of the history are never in an answer, and only those:
a namesake of a seen item is another item here, though `recommend` leaves it out.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from genrec_edge.dataset import CATALOG
from genrec_edge.decoder import Budget
from genrec_edge.engine import Usage
from genrec_edge.errors import UsageError
from genrec_edge.files import sha256_file
from genrec_edge.freeform import write_lines
from genrec_edge.metrics import rank_of
from genrec_edge.recommender import Recommender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from genrec_edge.dataset import Dataset
    from genrec_edge.records import ScoreKind
    from genrec_edge.store import ModelFile

N_TEXTS = 10
"""Texts of free generation, as many as GenRec takes from its beams."""
_TOKENS_PER_TEXT = 32
_OF_THIS_MACHINE = ("name", "path", "adapter")


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The answer to one history.

    Attributes:
        items: (n,) int32 item indexes, best first, different from each other and from those of the history.
        scores: (n,) float64, descending.
        exact: whether no other allowed item scores higher.
        gap: by how much one could at most, in nats; None where nothing bounds it.
        tokens: given to the model, prompt included; what its cache held is not counted.
        seconds: what the answer took.
        texts: how many texts were written; 0 where the answer was searched.
        invalid: texts that mean no item, or none that was to be ranked.
        repeated: texts that mean an item of the history or one written before.
        all_scores: (n_items,) where each item has one, -inf for what was not allowed.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float64]
    exact: bool
    gap: float | None
    tokens: int
    seconds: float
    texts: int = 0
    invalid: int = 0
    repeated: int = 0
    all_scores: NDArray[np.float64] | None = None

    def rank_of(self, target: int) -> float:
        """Return the rank of an item, the mean of their places for equal scores; inf for one that is not in the answer.

        Raises:
            EngineError: a score is not a number.
        """
        if self.all_scores is not None:
            return rank_of(self.all_scores, target, self.all_scores > -np.inf)
        places = np.flatnonzero(self.items == target)
        return rank_of(self.scores, int(places[0])) if len(places) else np.inf


class ScoreRanker:
    """A system that gives every item a score, such as a baseline. Use it in a `with` block.

    Args:
        name: in tables.
        fit: called when the block begins; returns the function from a history to the score of each item, (n_items,),
            higher is better, which is dropped when the block ends.
        is_baseline: whether it is one of those to be beaten.
    """

    about: Mapping[str, Any] = {}

    def __init__(
        self, name: str, fit: Callable[[], Callable[[NDArray[np.int32]], NDArray[Any]]], *, is_baseline: bool = True
    ) -> None:
        self.name = name
        self.is_baseline = is_baseline
        self._fit = fit
        self._scores_of: Callable[[NDArray[np.int32]], NDArray[Any]]

    def rank(self, history: NDArray[np.int32], k: int, *, candidates: NDArray[np.int32] | None = None) -> Ranked:
        """Return the k items with the highest scores; of equal ones, those of lower index."""
        started = time.perf_counter()
        scores = np.asarray(self._scores_of(history), np.float64)
        scores = np.where(_allowed(len(scores), history, candidates), scores, -np.inf)
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[scores[best] > -np.inf]
        seconds = time.perf_counter() - started
        return Ranked(
            best.astype(np.int32), scores[best], exact=True, gap=0.0, tokens=0, seconds=seconds, all_scores=scores
        )

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
    ) -> Iterator[Ranked]:
        """Yield `rank` of each history, in order."""
        for history, pool in _with_candidates(histories, candidates):
            yield self.rank(history, k, candidates=pool)

    def __enter__(self) -> Self:
        self._scores_of = self._fit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._scores_of


class LlmRanker:
    """A language model, searched as `recommend` does, over the catalog of a data set. Use it in a `with` block.

    Args:
        model_file: the model, resolved.
        dataset: whose items are ranked.
        name: in tables; None takes that of the model and its adapter.
        adapter: a LoRA adapter in GGUF format, or None.
        score: None takes what the model was tuned for.
        max_history: how many of the latest titles the prompt has; None takes as many as fit into the context.
        decode: "exact", or "free" for texts written line by line and grounded afterwards.
        is_baseline: whether it is one of those to be beaten.
        n_threads, n_ctx: as in `Recommender.open`.
    """

    def __init__(
        self,
        model_file: ModelFile,
        dataset: Dataset,
        *,
        name: str | None = None,
        adapter: Path | None = None,
        score: ScoreKind | None = None,
        max_history: int | None = None,
        decode: Literal["exact", "free"] = "exact",
        is_baseline: bool = False,
        n_threads: int | None = None,
        n_ctx: int | None = None,
    ) -> None:
        if max_history is not None and max_history < 1:
            raise UsageError(f"a history of {max_history} titles is none", hint="give --max-history at least 1")
        self.name = name or model_name(model_file, adapter)
        self.is_baseline = is_baseline
        self._model_file, self._adapter = model_file, adapter
        self._dataset = dataset
        self._max_history = max_history
        self._decode = decode
        self._open = lambda: Recommender.open(
            model_file, dataset.path / CATALOG, adapter=adapter, score=score, n_threads=n_threads, n_ctx=n_ctx
        )
        self.about: Mapping[str, Any] = {}
        self._recommender: Recommender
        self._item_of_row: dict[int, int]
        self._item_at: NDArray[np.int32]  # (n_items,) the item at each position of the index

    def __enter__(self) -> Self:
        """Load the model; from now on `about` says all that its answers depend on."""
        self._recommender = self._open()
        manifest, path = self._model_file.manifest, self._model_file.path
        described = self._recommender.describe_model()
        self._item_of_row = dict(zip(self._dataset.rows.tolist(), range(self._dataset.n_items), strict=True))
        self._item_at = np.array([self._item_of_row[row] for row in self._recommender.index.rows.tolist()], np.int32)
        self.about = {
            **{key: value for key, value in described.items() if key not in _OF_THIS_MACHINE},
            "model_sha256": manifest.sha256 if manifest else sha256_file(path),
            "model_bytes": path.stat().st_size,
            "quant": self._model_file.header.quant,
            "adapter_sha256": None if self._adapter is None else sha256_file(self._adapter),
            "max_history": self._max_history,
            "n_ctx": self._recommender.engine.n_ctx,
            "decode": self._decode,
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recommender.close()

    def rank(self, history: NDArray[np.int32], k: int, *, candidates: NDArray[np.int32] | None = None) -> Ranked:
        """Return the k best items after a history, or all that are allowed if these are fewer.

        Args:
            history: item indexes, oldest first.
            k: how many; of texts, at most `N_TEXTS` are written.
            candidates: item indexes to rank, the rest left out; None for all.
        """
        (ranked,) = self.rank_many([history], k, candidates=None if candidates is None else [candidates])
        return ranked

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
    ) -> Iterator[Ranked]:
        """Yield `rank` of each history, in order."""
        for history, pool in _with_candidates(histories, candidates):
            allowed = _allowed(self._dataset.n_items, history, pool)
            yield self._written(history, k, allowed) if self._decode == "free" else self._searched(history, k, allowed)

    def _searched(self, history: NDArray[np.int32], k: int, allowed: NDArray[np.bool_]) -> Ranked:
        started = time.perf_counter()
        if not allowed.any():
            return Ranked(np.empty(0, np.int32), np.empty(0), exact=True, gap=0.0, tokens=0, seconds=0.0)
        root_row = self._prompted(history)
        bias = np.where(allowed[self._item_at], 0.0, -np.inf)
        answer = self._recommender.search(bias, min(k, int(allowed.sum()))).exact(root_row, Budget())
        return Ranked(
            items=self._item_at[[found.position for found in answer.found]],
            scores=np.array([found.score for found in answer.found]),
            exact=answer.exact,
            gap=answer.gap,
            tokens=self._recommender.engine.usage.tokens,
            seconds=time.perf_counter() - started,
        )

    def _written(self, history: NDArray[np.int32], k: int, allowed: NDArray[np.bool_]) -> Ranked:
        """Let the model write `N_TEXTS` lines, and keep what is allowed in the order it was written."""
        started = time.perf_counter()
        root_row = self._prompted(history)
        engine = self._recommender.engine
        n = min(k, N_TEXTS)
        written = write_lines(engine, root_row, temperature=0, seed=0, max_tokens=n * _TOKENS_PER_TEXT)
        lines = list(itertools.islice(written, n))
        found: list[int] = []
        invalid = repeated = 0
        for line in lines:
            match = self._recommender.resolve(line.text)
            item = None if match.item is None else self._item_of_row[match.item.row]
            if item in found or item in history:
                repeated += 1
            elif item is None or not allowed[item]:
                invalid += 1
            else:
                found.append(item)
        return Ranked(
            items=np.array(found, np.int32),
            scores=-np.arange(len(found), dtype=np.float64),
            exact=False,
            gap=None,
            tokens=engine.usage.tokens,
            seconds=time.perf_counter() - started,
            texts=len(lines),
            invalid=invalid,
            repeated=repeated,
        )

    def _prompted(self, history: NDArray[np.int32]) -> NDArray[np.float32]:
        """Evaluate the prompt, with each item once, where it was met last, and return its last logits."""
        latest = list(dict.fromkeys(reversed(history.tolist())))[: self._max_history][::-1]
        engine = self._recommender.engine
        engine.usage = Usage()
        token_ids, _ = self._recommender.prompt_ids(self._dataset.rows[latest])
        return engine.prompt(token_ids)[0]


def model_name(model_file: ModelFile, adapter: Path | None) -> str:
    """Return what a model is called in tables: its name in the store or its file's, and its adapter's."""
    name = model_file.manifest.name if model_file.manifest else model_file.path.stem
    return name if adapter is None else f"{name} + {adapter.stem}"


def _allowed(n_items: int, history: NDArray[np.int32], candidates: NDArray[np.int32] | None) -> NDArray[np.bool_]:
    """Return which items can be in the answer, (n_items,)."""
    allowed = np.full(n_items, candidates is None)
    if candidates is not None:
        allowed[candidates] = True
    allowed[history] = False
    return allowed


def _with_candidates(
    histories: Sequence[NDArray[np.int32]], candidates: Sequence[NDArray[np.int32]] | None
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32] | None]]:
    return zip(histories, itertools.repeat(None) if candidates is None else candidates, strict=candidates is not None)
