"""Baselines from interaction counts, which tuned models are compared with on the same split and the same items.

Each is fitted on histories of item indexes and scores every item, higher is better, items of the history included: the
ranker removes those. Knows no titles, no models, no metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from genrec_edge.evaluation.ease import EASE
from genrec_edge.prior.cooccurrence import SparseRows, concatenated, count_transitions, event_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray


class Baseline(Protocol):
    """The interface of a baseline."""

    def fit(self, train: Sequence[NDArray[np.int32]], n_items: int) -> None:
        """Fit on histories of item indexes below `n_items`, oldest first; an earlier fit is forgotten."""

    def scores(self, history: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return a score for each item, (n_items,), after a history, oldest first, that may be empty or unknown."""


class Random:
    """Random scores; equal histories get equal scores."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._n_items = 0

    def fit(self, train: Sequence[NDArray[np.int32]], n_items: int) -> None:  # noqa: ARG002
        """Store the number of items."""
        self._n_items = n_items

    def scores(self, history: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return uniform draws from 0..1, seeded by the seed and the history."""
        return np.random.default_rng([self._seed, *history.tolist()]).random(self._n_items)


class Popularity:
    """Scores an item by its number of events."""

    def __init__(self) -> None:
        self._counts: NDArray[np.float64]

    def fit(self, train: Sequence[NDArray[np.int32]], n_items: int) -> None:
        """Count the events of each item."""
        self._counts = event_counts(train, n_items).astype(np.float64)

    def scores(self, history: NDArray[np.int32]) -> NDArray[np.float64]:  # noqa: ARG002
        """Return the counts, whatever the history."""
        return self._counts.copy()


class ItemKNN:
    """Item-based nearest neighbours: score(j) sums the similarities of j to its neighbours among the last items.

    The similarity of two items is users who have both / (sqrt(users of one * users of the other) + shrink).
    The neighbours of an item are the `k` most similar ones; of equal ones, those of lower index.

    Args:
        k: neighbours of each item.
        shrink: reduces similarities that rest on few common users.
        last: how many of the latest items of a history count.
    """

    def __init__(self, *, k: int = 200, shrink: float = 10.0, last: int = 3) -> None:
        self._k, self._shrink, self._last = k, shrink, last
        self._matrix: SparseRows

    def fit(self, train: Sequence[NDArray[np.int32]], n_items: int) -> None:
        """Find the neighbours of each item, one item at a time: nothing is as large as items times items."""
        sets = [np.unique(history) for history in train]
        flat = concatenated(sets)
        owners = np.repeat(np.arange(len(sets)), [len(items) for items in sets])
        by_item = np.argsort(flat, kind="stable")
        n_users = np.bincount(flat, minlength=n_items)
        users_of = np.split(owners[by_item], np.cumsum(n_users)[:-1])
        sources, targets, values = [], [], [np.empty(0)]
        for item in np.flatnonzero(n_users):
            both = np.bincount(concatenated([sets[user] for user in users_of[item]]), minlength=n_items)
            both[item] = 0
            near = np.flatnonzero(both)
            similarity = both[near] / (np.sqrt(float(n_users[item]) * n_users[near]) + self._shrink)
            kept = np.argsort(-similarity, kind="stable")[: self._k]
            sources.append(near[kept])
            targets.append(np.full(len(kept), item))
            values.append(similarity[kept])
        shape = (n_items, n_items)
        self._matrix = SparseRows(concatenated(sources), concatenated(targets), np.concatenate(values), shape)

    def scores(self, history: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the sums of similarities; 0 where no item of the history is a neighbour."""
        latest = history[::-1][: self._last]
        return np.asarray(self._matrix.sums(latest, np.ones((1, len(latest))))[0])


class SequentialItemItem:
    """Transition counts: which item follows which, and how closely.

    T[i, j] sums 1/d over all places where j follows i by d <= `window` steps. score(j) sums, over the last items h_p
    of the history (p = 0 is the newest), decay^p * T[h_p, j] / count(h_p)^alpha, where count is the number of events.

    Args:
        window: steps an item looks ahead.
        decay: weight of each item of the history relative to the next newer one.
        last: how many of the latest items of a history count.
        alpha: 0 favours the followers of popular items, 1 weighs rare and popular items alike.
    """

    def __init__(self, *, window: int = 10, decay: float = 0.8, last: int = 10, alpha: float = 0.8) -> None:
        self._window, self._decay, self._last, self._alpha = window, decay, last, alpha
        self._matrix: SparseRows
        self._counts: NDArray[np.int64]

    def fit(self, train: Sequence[NDArray[np.int32]], n_items: int) -> None:
        """Count the transitions."""
        self._matrix = count_transitions(train, n_items, self._window)
        self._counts = event_counts(train, n_items)

    def scores(self, history: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the weighted sums of transitions; 0 for what never followed."""
        latest = history[::-1][: self._last]
        counts = np.maximum(self._counts[latest], 1)  # an item without events has an empty row, whatever divides it
        weights = self._decay ** np.arange(len(latest)) / counts**self._alpha
        return np.asarray(self._matrix.sums(latest, weights[None])[0])


BASELINES: Mapping[str, Callable[[], Baseline]] = {
    "random": Random,
    "popularity": Popularity,
    "item-knn": ItemKNN,
    "ease": EASE,
    "sequential": SequentialItemItem,
}
"""By name in tables; the default settings were tuned on the validation items of ML-100K."""
