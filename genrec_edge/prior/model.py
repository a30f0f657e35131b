"""The item prior: a distribution over the items of a catalog after a history, from interaction counts alone.

Two kinds:
  popularity  log pop(j), with pop(j) = (n_j + 1/2) / sum of (n + 1/2)
  sequence    a log-linear mixture of popularity, of co-occurrence near the items of the history h, and of EASE, each
              normalised to a share F:
                S_c(j) = sum over p of c^p * (T[h_p, j] + T[j, h_p]) / n_{h_p}^0.8, p = 0 the newest, two decays c
                E(j)   = the score of EASE; 0 where it is less, and for items of the history
                log prior(j) = sum over F in {pop, S_c, E} of a_F log(N F(j) + e_F) + constant

n_j are the events of an item, T as in `cooccurrence.py`, E as in `ease.py`, N the number of items. T counts both
ways because events of one day may be in any order. The constant makes the probabilities of the items outside
of the history sum to one; those of the history get `SEEN_LOGPROB`, so that a request may still ask for them. If no
item of the history was counted, the sequence prior is the popularity prior: the formula alone would then prefer the
less popular items.

Knows counts and indexes; no titles, no files. `db.py` stores the counts, `fit.py` finds the coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.prior.cooccurrence import count_transitions, event_counts
from genrec_edge.prior.ease import EaseInverse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.prior.cooccurrence import SparseRows
    from genrec_edge.records import PriorKind

WINDOW = 10
"""The largest distance of two events that count as a transition."""
DECAYS = (0.5, 0.95)
"""Weights of an item of the history relative to the next newer one, one for each S_c."""
SEEN_LOGPROB = float(np.log(1e-12))
"""Log-probability of each item of the history."""
SMOOTHING = 0.5
"""Events added to each item, so that items without events have a probability above 0."""
ALPHA = 0.8
"""Exponent of the number of events by which transitions of an item are divided."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of the sequence prior: (weight, log of the floor) of popularity, of each of `DECAYS`, and of EASE."""

    weights: tuple[float, ...] = (-0.56, 0.95, 0.61, 0.47)
    log_floors: tuple[float, ...] = (-1.91, -1.79, -3.91, -0.22)


DEFAULT = Coefficients()
"""Fitted to four positions of each training history of ML-100K (leave-one-out, ties by file order)."""


@dataclass(frozen=True, slots=True, eq=False)
class PriorCounts:
    """The counts of a prior.

    Attributes:
        events: (n_items,) int64, the events of each item.
        transitions: T, (n_items, n_items).
        ease: the inverse of EASE.
        cooccurrence: T plus its transpose, (n_items, n_items).
    """

    events: NDArray[np.int64]
    transitions: SparseRows
    ease: EaseInverse
    cooccurrence: SparseRows = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cooccurrence", self.transitions.symmetrized())

    @classmethod
    def of(cls, histories: Sequence[NDArray[np.int32]], n_items: int) -> PriorCounts:
        """Count histories of item indexes below `n_items`, oldest first."""
        transitions = count_transitions(histories, n_items, WINDOW)
        events = event_counts(histories, n_items)
        return cls(events, transitions, EaseInverse.of(histories, n_items))

    @property
    def n_items(self) -> int:
        """The number of items, those without events included."""
        return len(self.events)


def log_prob(
    counts: PriorCounts, history: NDArray[np.integer], kind: PriorKind, coefficients: Coefficients = DEFAULT
) -> NDArray[np.float64]:
    """Return the log-probability of each item after a history of indexes, oldest first: (n_items,) nats, finite."""
    newest_first = history[::-1]
    sums = np.zeros((len(DECAYS) + 1, counts.n_items))
    if kind == "sequence" and len(history):
        scale = np.maximum(counts.events[newest_first], 1) ** ALPHA
        weights = np.array(DECAYS)[:, None] ** np.arange(len(history)) / scale
        sums[:-1] = counts.cooccurrence.sums(newest_first, weights)
        sums[-1] = counts.ease.scores(np.unique(history))
    log_probs: NDArray[np.float64] = log_distribution(sums[None], counts.events, [history], coefficients)[0]
    return log_probs


def features(sums: NDArray[np.float64], events: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the features whose logs the mixture adds: (n, 2 + n_decays, n_items), N times each share F.

    Args:
        sums: (n, n_decays + 1, n_items), each S_c and E; popularity is put before them.
        events: (n_items,), of each item.
    """
    popular = np.broadcast_to(events + SMOOTHING, (len(sums), 1, len(events)))
    counted = np.concatenate([popular, sums], axis=1)
    totals = counted.sum(axis=-1, keepdims=True)
    return np.asarray(len(events) * counted / np.where(totals > 0, totals, 1))


def log_distribution(
    sums: NDArray[np.float64],
    events: NDArray[np.int64],
    histories: Sequence[NDArray[np.integer]],
    coefficients: Coefficients,
) -> NDArray[np.float64]:
    """Return log-probabilities, (n, n_items), from `sums`, (n, n_decays + 1, n_items), after each of n histories."""
    floors = np.exp(np.array(coefficients.log_floors))[:, None]
    logs = np.log(features(sums, events) + floors)
    scores: NDArray[np.float64] = np.einsum("k,nkj->nj", np.array(coefficients.weights), logs)
    scores[~sums.any((1, 2))] = np.log(events + SMOOTHING)
    for i, items in enumerate(histories):
        unseen = np.ones(len(events), np.bool_)
        unseen[items] = False
        if unseen.any():
            scores[i] -= np.logaddexp.reduce(scores[i, unseen])
        scores[i, items] = SEEN_LOGPROB
    return scores
