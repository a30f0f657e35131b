"""What a system answers to a history, and systems that give every item a score.

Items are known by their index, as in data sets and splits. Those of the history are never in an answer, and only those:
a namesake of a seen item is another item here, though `recommend` leaves it out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from genrec_edge.evaluation.metrics import rank_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from genrec_edge.evaluation.conditioning import Conditioning

FIT_FIRST = ", fit first"
"""What names of systems end in that put items with the wanted facts before all others."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
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
        fit_first: whether items with the facts that are wanted come before all others.
    """

    about: Mapping[str, Any] = {}

    def __init__(
        self,
        name: str,
        fit: Callable[[], Callable[[NDArray[np.int32]], NDArray[Any]]],
        *,
        is_baseline: bool = True,
        fit_first: bool = False,
    ) -> None:
        self.name = name + FIT_FIRST * fit_first
        self._fit_first = fit_first
        self.is_baseline = is_baseline
        self._fit = fit
        self._scores_of: Callable[[NDArray[np.int32]], NDArray[Any]]

    def rank(
        self,
        history: NDArray[np.int32],
        k: int,
        *,
        candidates: NDArray[np.int32] | None = None,
        told: Conditioning | None = None,
    ) -> Ranking:
        """Return the k items with the highest scores; of equal ones, those of lower index. Words are not understood."""
        started = time.perf_counter()
        known = history if told is None else told.known(history)
        scores = np.asarray(self._scores_of(known), np.float64)
        if self._fit_first and told is not None and told.fits is not None:
            scores = scores + np.where(told.fits, 1 + np.ptp(scores), 0)
        scores = np.where(allowed_items(len(scores), history, candidates), scores, -np.inf)
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[scores[best] > -np.inf]
        seconds = time.perf_counter() - started
        return Ranking(
            best.astype(np.int32), scores[best], exact=True, gap=0.0, tokens=0, seconds=seconds, all_scores=scores
        )

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
        told: Sequence[Conditioning] | None = None,
    ) -> Iterator[Ranking]:
        """Yield `rank` of each history, in order."""
        for history, pool, one in align_inputs(histories, candidates, told):
            yield self.rank(history, k, candidates=pool, told=one)

    def __enter__(self) -> Self:
        self._scores_of = self._fit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._scores_of


def allowed_items(n_items: int, history: NDArray[np.int32], candidates: NDArray[np.int32] | None) -> NDArray[np.bool_]:
    """Return which items can be in the answer, (n_items,)."""
    allowed = np.full(n_items, candidates is None)
    if candidates is not None:
        allowed[candidates] = True
    allowed[history] = False
    return allowed


def align_inputs(
    histories: Sequence[NDArray[np.int32]],
    candidates: Sequence[NDArray[np.int32]] | None,
    told: Sequence[Conditioning] | None,
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32] | None, Conditioning | None]]:
    """Yield each history with the items to rank, None for all, and with what is told, None for the history alone."""
    for i, history in enumerate(histories):
        yield history, None if candidates is None else candidates[i], None if told is None else told[i]
