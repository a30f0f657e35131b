"""What counting alone says of the next item: a distribution over a catalog, given what a user has met.

Two kinds:
  popularity  log pop(j), with pop(j) = (n_j + 1/2) / sum of (n + 1/2)
  sequence    a log-linear mixture of popularity, of what stood near the items of the history h, and of what goes with
              them, each as a share F of its sum:
                S_c(j) = sum over p of c^p * (T[h_p, j] + T[j, h_p]) / n_{h_p}^0.8, p = 0 the newest, two decays c
                E(j)   = the score of EASE; 0 where it is less, and for items of the history
                log prior(j) = sum over F in {pop, S_c, E} of a_F log(N F(j) + e_F) + constant

n_j are the events of an item, T as in `transitions.py`, E as in `closeness.py`, N the items of the catalog. T counts
both ways because what was met on one day comes in any order. The constant makes the probabilities of the items outside
of the history sum to one; those of the history get `SEEN_LOGPROB`, so that a request may still ask for them. Where
nothing was counted of any item of the history, the sequence prior is the popularity prior: by the formula alone the
less popular items would then be the likelier ones.

Knows counts and indexes; no titles, no files. `prior_file.py` keeps them, `prior_fit.py` finds the coefficients.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.prior.cooccurrence import count_transitions, event_counts
from genrec_edge.prior.ease import EaseInverse, EaseWithoutHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.prior.cooccurrence import SparseRows
    from genrec_edge.records import PriorKind

    CrossFitted = Callable[[int, NDArray[np.integer], int], NDArray[np.float32]]
    LeftOut = Callable[[int, NDArray[np.integer], int], tuple[NDArray[np.float64], NDArray[np.int64]]]

WINDOW = 10
"""Places that an item looks ahead."""
DECAYS = (0.5, 0.95)
SEEN_LOGPROB = float(np.log(1e-12))
"""Log-probability of each item of the history."""
SMOOTHING = 0.5
"""Events that each item gets beside its own, so that one without any has a chance."""
_ALPHA = 0.8
_NOISE = 1e-12
"""What subtraction leaves of nothing."""
_DEPTH = 270
"""0.95 to this power is less than a millionth: items that came before are left out."""
_CACHED = 4096
"""Users whose contributions are kept in memory, some 50 KB each."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of the sequence prior: (weight, log of the floor) of popularity, of each of `DECAYS`, and of EASE."""

    weights: tuple[float, ...] = (-0.56, 0.95, 0.61, 0.47)
    log_floors: tuple[float, ...] = (-1.91, -1.79, -3.91, -0.22)


DEFAULT = Coefficients()
"""Of most likelihood on four positions of each training history of ML-100K (leave-one-out, ties by file order)."""


@dataclass(frozen=True, slots=True, eq=False)
class PriorCounts:
    """What was counted.

    Attributes:
        events: (n_items,) int64, the events of each item.
        transitions: T, (n_items, n_items).
        closeness: of EASE.
        near: T and its transpose added, (n_items, n_items).
    """

    events: NDArray[np.int64]
    transitions: SparseRows
    closeness: EaseInverse
    near: SparseRows = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "near", self.transitions.both_ways())

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
        scale = np.maximum(counts.events[newest_first], 1) ** _ALPHA
        weights = np.array(DECAYS)[:, None] ** np.arange(len(history)) / scale
        sums[:-1] = counts.near.sums(newest_first, weights)
        sums[-1] = counts.closeness.scores(np.unique(history))
    found: NDArray[np.float64] = _distribution(sums[None], counts.events, [history], coefficients)[0]
    return found


def features(sums: NDArray[np.float64], events: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what the mixture takes the logs of: (n, 2 + n_decays, n_items), N times each share, popularity first.

    Args:
        sums: (n, n_decays + 1, n_items), each S_c and E.
        events: (n_items,), of each item.
    """
    popular = np.broadcast_to(events + SMOOTHING, (len(sums), 1, len(events)))
    counted = np.concatenate([popular, sums], axis=1)
    totals = counted.sum(axis=-1, keepdims=True)
    return np.asarray(len(events) * counted / np.where(totals > 0, totals, 1))


def _distribution(
    sums: NDArray[np.float64],
    events: NDArray[np.int64],
    seen: Sequence[NDArray[np.integer]],
    coefficients: Coefficients,
) -> NDArray[np.float64]:
    """Return log-probabilities, (n, n_items), of `sums`, (n, n_decays + 1, n_items), and what each has seen."""
    floors = np.exp(np.array(coefficients.log_floors))[:, None]
    logs = np.log(features(sums, events) + floors)
    scores: NDArray[np.float64] = np.einsum("k,nkj->nj", np.array(coefficients.weights), logs)
    scores[~sums.any((1, 2))] = np.log(events + SMOOTHING)
    for i, items in enumerate(seen):
        unseen = np.ones(len(events), np.bool_)
        unseen[items] = False
        if unseen.any():
            scores[i] -= np.logaddexp.reduce(scores[i, unseen])
        scores[i, items] = SEEN_LOGPROB
    return scores


def cross_fitted(
    histories: Sequence[NDArray[np.int32]], n_items: int, coefficients: Coefficients = DEFAULT
) -> CrossFitted:
    """Count histories, and return the function that asks for places in them: what a model is trained beside.

    (user, history, start) -> (len(history) - start, n_items) float32: the log-probabilities of the sequence prior at
    the places from `start` on, each after all that stands before it. `history` may be any variant of the user's own;
    what the user contributed to the counts is left out.
    """
    left_out = own_left_out(PriorCounts.of(histories, n_items), histories)

    def at(user: int, history: NDArray[np.integer], start: int) -> NDArray[np.float32]:
        sums, events = left_out(user, history, start)
        seen = [history[:place] for place in range(start, len(history))]
        return _distribution(sums, events, seen, coefficients).astype(np.float32)

    return at


def own_left_out(counts: PriorCounts, histories: Sequence[NDArray[np.int32]]) -> LeftOut:
    """Return (user, history, start) -> (sums, events) for `features`: (n, n_decays + 1, n_items) and (n_items,).

    There is a row for each of the n places of `history` from `start` on. What the user's own of the `histories`
    contributed to their `counts` is left out.
    """
    closeness, decays = counts.closeness, np.array(DECAYS)[:, None]

    @functools.lru_cache(_CACHED)
    def own(user: int) -> tuple[SparseRows, NDArray[np.int64], NDArray[np.float64], EaseWithoutHistory]:
        near = count_transitions([histories[user]], counts.n_items, WINDOW).both_ways()
        events = counts.events - np.bincount(histories[user], minlength=counts.n_items)
        return near, events, np.maximum(events, 1) ** -_ALPHA, closeness.without(histories[user])

    def at(user: int, history: NDArray[np.integer], start: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        own_near, events, scale, without = own(user)
        before, after = history[max(0, start - _DEPTH) : start][::-1], history[start:]
        sums = np.zeros((len(after), len(DECAYS) + 1, counts.n_items))
        weights = decays ** np.arange(len(before)) * scale[before]
        running = counts.near.sums(before, weights) - own_near.sums(before, weights)
        for place, item in enumerate(after.tolist()):
            sums[place, :-1] = running
            running *= decays
            for matrix, sign in ((counts.near, 1.0), (own_near, -1.0)):
                columns, values = matrix.row(item)
                running[:, columns] += sign * scale[item] * values
        # EASE counts an item once.
        met = np.isin(np.arange(counts.n_items), history[:start])
        where = closeness.places(np.flatnonzero(met))
        summed = np.zeros((len(after), len(closeness.items)))
        pulled = np.full(len(after), without.pulled[where].sum())
        summed[:] = closeness.inverse[where].sum(0, dtype=np.float64)
        for place, item in enumerate(after[:-1].tolist(), 1):
            if not met[item] and len(where := closeness.places(after[place - 1 : place])):
                summed[place:] += closeness.inverse[where[0]]
                pulled[place:] += without.pulled[where[0]]
            met[item] = True
        sums[sums < _NOISE] = 0.0
        sums[:, -1] = closeness.spread(without.scores(summed, pulled))
        for place in range(len(after)):
            sums[place, -1, history[: start + place]] = 0.0
        return sums, events

    return at
