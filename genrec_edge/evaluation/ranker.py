"""The ranking that a system returns for a history, and systems that score every item.

Items are indexes, as in data sets and splits. Items of the history are never ranked. Another item with the same title
as one of the history is ranked here, though `recommend` leaves it out.
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
"""Suffix of the names of systems that rank items with the facts of the intent before all others."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The ranking for one history.

    Attributes:
        items: (n,) int32 item indexes, best first, different from each other and from those of the history.
        scores: (n,) float64, descending.
        exact: whether no other candidate scores higher.
        gap: by how much another candidate could score higher at most, in nats; None where there is no bound.
        tokens: evaluated by the model, prompt included, without those in its cache.
        seconds: wall time.
        texts: number of generated texts; 0 for a search.
        invalid: generated texts that resolve to no candidate.
        repeated: generated texts that resolve to an item of the history or of an earlier text.
        all_scores: (n_items,) for systems that score every item, -inf for items that are no candidates.
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
        """Return the rank of an item, the mean of their ranks for equal scores; inf for an item that is not ranked.

        Raises:
            EngineError: a score is not a number.
        """
        if self.all_scores is not None:
            return rank_of(self.all_scores, target, self.all_scores > -np.inf)
        places = np.flatnonzero(self.items == target)
        return rank_of(self.scores, int(places[0])) if len(places) else np.inf


@dataclass(frozen=True, slots=True)
class TimedScores:
    """Scores that depend on when they are asked for: `at` returns the function from a history to the scores at a time.

    Without a time, it is that of the last training event.
    """

    at: Callable[[float | None], Callable[[NDArray[np.int32]], NDArray[np.float64]]]

    def __call__(self, history: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the scores after a history, (n_items,), without a time."""
        return self.at(None)(history)


def scores_at(
    scores_of: Callable[[NDArray[np.int32]], NDArray[Any]], history: NDArray[np.int32], time: float | None
) -> NDArray[np.float64]:
    """Return the scores after a history at a time, (n_items,)."""
    own = scores_of.at(time) if isinstance(scores_of, TimedScores) else scores_of
    return np.asarray(own(history), np.float64)


class ScoreRanker:
    """A system that gives every item a score, such as a baseline. Use it in a `with` block.

    Args:
        name: in tables.
        fit: called when the block begins; returns the function from a history to the score of each item, (n_items,),
            higher is better. The function is dropped when the block ends.
        is_baseline: whether models are compared with it.
        fit_first: whether items with the facts of the intent come before all others.
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
        self.name = f"{name}{FIT_FIRST}" if fit_first else name
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
        conditioning: Conditioning | None = None,
        at: float | None = None,
    ) -> Ranking:
        """Return the k items with the highest scores; of equal ones, those of lower index. Words are unused.

        `at` is the time, in seconds, for scores that depend on it.
        """
        started = time.perf_counter()
        visible = history if conditioning is None else conditioning.visible_history(history)
        scores = scores_at(self._scores_of, visible, at)
        if self._fit_first and conditioning is not None and conditioning.matches_intent is not None:
            scores = scores + np.where(conditioning.matches_intent, 1 + np.ptp(scores), 0)
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
        conditioning: Sequence[Conditioning] | None = None,
        times: Sequence[float] | None = None,
    ) -> Iterator[Ranking]:
        """Yield `rank` of each history, in order."""
        for asked in align_inputs(histories, candidates, conditioning, times):
            yield self.rank(
                asked.history, k, candidates=asked.candidates, conditioning=asked.conditioning, at=asked.time
            )

    def __enter__(self) -> Self:
        self._scores_of = self._fit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._scores_of


def allowed_items(n_items: int, history: NDArray[np.int32], candidates: NDArray[np.int32] | None) -> NDArray[np.bool_]:
    """Return which items may be ranked, (n_items,): the candidates, None for all, without those of the history."""
    allowed = np.full(n_items, candidates is None)
    if candidates is not None:
        allowed[candidates] = True
    allowed[history] = False
    return allowed


@dataclass(frozen=True, slots=True, eq=False)
class AskedInput:
    """What a system is asked for one user: see `RankingSystem.rank_many`."""

    history: NDArray[np.int32]
    candidates: NDArray[np.int32] | None
    conditioning: Conditioning | None
    time: float | None


def align_inputs(
    histories: Sequence[NDArray[np.int32]],
    candidates: Sequence[NDArray[np.int32]] | None,
    conditioning: Sequence[Conditioning] | None,
    times: Sequence[float] | None,
) -> Iterator[AskedInput]:
    """Yield each history with its candidates, its conditioning and its time, None where there are none."""
    for i, history in enumerate(histories):
        yield AskedInput(
            history,
            None if candidates is None else candidates[i],
            None if conditioning is None else conditioning[i],
            None if times is None else times[i],
        )
