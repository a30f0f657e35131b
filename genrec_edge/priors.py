"""What counting alone says of the next item: a distribution over a catalog, given what a user has met.

Two kinds:
  popularity  log pop(j), with pop(j) = (n_j + 1/2) / sum of (n + 1/2)
  sequence    a log-linear mixture of popularity and of what followed the items of the history h:
                S_c(j) = sum over p of c^p * T[h_p, j] / n_{h_p}^0.8, p = 0 the newest, for three decays c
                P_c = S_c / sum of S_c
                log prior(j) = a_pop * log(N pop(j) + e_pop) + sum over c of a_c * log(N P_c(j) + e_c) + constant

n_j are the events of an item, T as in `transitions.py`, N the items of the catalog. The constant makes the
probabilities of the items outside of the history sum to one; those of the history get `SEEN`, so that a request may
still ask for them. Where nothing was counted after any item of the history, the sequence prior is the popularity prior:
by the formula alone the less popular items would then be the likelier ones.

Knows counts and indexes; no titles, no files. `prior_file.py` keeps them, `prior_fit.py` finds the coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.transitions import SparseRows, count_transitions, event_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from genrec_edge.records import PriorKind

WINDOW = 10
"""Places that an item looks ahead."""
DECAYS = (0.5, 0.8, 0.95)
SEEN = float(np.log(1e-12))
"""Log-probability of each item of the history."""
_ALPHA = 0.8
_LEAST_COUNT = 0.05
"""Less than the smallest count there is, 1/`WINDOW`: what subtraction leaves of one is none."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of the sequence prior: (weight, log of the floor) of popularity, and of each of `DECAYS`."""

    weights: tuple[float, ...] = (-0.48, 0.55, 0.41, 1.01)
    log_floors: tuple[float, ...] = (-1.76, -0.96, -0.31, -2.88)


DEFAULT = Coefficients()
"""Of most likelihood on three positions of each training history of ML-100K (leave-one-out, ties by file order)."""


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What was counted.

    Attributes:
        events: (n_items,) int64, the events of each item.
        transitions: T, (n_items, n_items).
    """

    events: NDArray[np.int64]
    transitions: SparseRows

    @classmethod
    def of(cls, histories: Sequence[NDArray[np.int32]], n_items: int) -> Counts:
        """Count histories of item indexes below `n_items`, oldest first."""
        return cls(event_counts(histories, n_items), count_transitions(histories, n_items, WINDOW))

    @property
    def n_items(self) -> int:
        """The number of items, those without events included."""
        return len(self.events)


def log_prob(
    counts: Counts, history: NDArray[np.integer], kind: PriorKind, coefficients: Coefficients = DEFAULT
) -> NDArray[np.float64]:
    """Return the log-probability of each item after a history of indexes, oldest first: (n_items,) nats, finite."""
    newest_first = history[::-1]
    sums = np.zeros((len(DECAYS), counts.n_items))
    if kind == "sequence" and len(history):
        scale = np.maximum(counts.events[newest_first], 1) ** _ALPHA
        weights = np.array(DECAYS)[:, None] ** np.arange(len(history)) / scale
        sums = counts.transitions.sums(newest_first, weights)
    return _distribution(sums, counts.events, history, coefficients)


def features(sums: NDArray[np.float64], events: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what the mixture takes the logs of: (1 + n_decays, n_items), N times popularity and N times each P_c.

    Args:
        sums: (n_decays, n_items), S_c.
        events: (n_items,), of each item.
    """
    smoothed = np.concatenate([(events + 0.5)[None], sums])
    totals = smoothed.sum(axis=1, keepdims=True)
    return np.asarray(len(events) * smoothed / np.where(totals > 0, totals, 1))


def _distribution(
    sums: NDArray[np.float64], events: NDArray[np.int64], seen: NDArray[np.integer], coefficients: Coefficients
) -> NDArray[np.float64]:
    counted = features(sums, events)
    if sums.any():
        floors = np.exp(np.array(coefficients.log_floors))[:, None]
        scores = np.array(coefficients.weights) @ np.log(counted + floors)
    else:
        scores = np.log(counted[0])
    unseen = np.ones(len(events), np.bool_)
    unseen[seen] = False
    log_probs = np.full(len(events), SEEN)
    if unseen.any():
        log_probs[unseen] = scores[unseen] - np.logaddexp.reduce(scores[unseen])
    return log_probs


def cross_fitted(
    histories: Sequence[NDArray[np.int32]], n_items: int, coefficients: Coefficients = DEFAULT
) -> Callable[[int, int, int], NDArray[np.float32]]:
    """Count histories, and return the function that asks for places in them: what a model is trained beside.

    (user, start, stop) -> (stop - start, n_items) float32: the log-probabilities of the sequence prior at the places
    `start` to `stop` of the user's history, after all that stands before each; the user's own events are not counted.
    """
    walk = own_left_out(Counts.of(histories, n_items), histories)

    def at(user: int, start: int, stop: int) -> NDArray[np.float32]:
        history = histories[user]
        rows = np.empty((stop - start, n_items), np.float32)
        for place, (sums, events) in enumerate(walk(user, start, stop)):
            rows[place] = _distribution(sums, events, history[: start + place], coefficients)
        return rows

    return at


def own_left_out(
    counts: Counts, histories: Sequence[NDArray[np.int32]]
) -> Callable[[int, int, int], Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]]:
    """Return (user, start, stop) -> (sums, events) at each place in turn, for `features`, the user's own left out.

    Args:
        counts: of `histories`.
        histories: item indexes, oldest first.
    """
    decays = np.array(DECAYS)[:, None]

    def walk(user: int, start: int, stop: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        own = Counts.of([histories[user]], counts.n_items)
        events = counts.events - own.events
        scale = np.maximum(events, 1) ** _ALPHA
        sums = np.zeros((len(DECAYS), counts.n_items))
        for place, item in enumerate(histories[user][:stop].tolist()):
            if place >= start:
                yield sums, events
            followed = np.zeros(counts.n_items)
            columns, values = counts.transitions.row(item)
            followed[columns] = values
            columns, values = own.transitions.row(item)
            followed[columns] -= values
            followed[followed < _LEAST_COUNT] = 0
            sums = sums * decays + followed / scale[item]

    return walk
