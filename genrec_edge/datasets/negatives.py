"""Sampled negatives: items that a user has not met, for training and for evaluation among candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.datasets.ages import ages, item_years
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset


class NegativeSampler:
    """Draws items outside of a user's training history.

    Args:
        histories: of each user, item indexes.
        n_items: of the data set.
    """

    def __init__(self, histories: Sequence[NDArray[np.integer]], n_items: int) -> None:
        self._n_items = n_items
        self._event_items = np.concatenate(list(histories))
        self._met = frozenset(np.unique(self._event_items).tolist())
        self._histories = [frozenset(history.tolist()) for history in histories]

    def sample(self, user: int, rng: np.random.Generator, n: int, *, popular: bool = False) -> list[int]:
        """Return `n` different items outside of the user's history, drawn uniformly or by their number of events.

        They are drawn uniformly, too, where fewer than `n` of them have events.

        Raises:
            UsageError: the user has met all but fewer than `n` items.
        """
        history = self._histories[user]
        if self._n_items - len(history) < n:
            message = f"a user has met {len(history):,} of the {self._n_items:,} items, and {n} others are needed"
            raise UsageError(message, hint="use data with more items")
        popular = popular and (len(self._met) - len(history) >= n or len(self._met - history) >= n)
        negatives: list[int] = []
        while len(negatives) < n:
            item = int(rng.choice(self._event_items)) if popular else int(rng.integers(self._n_items))
            if item not in history and item not in negatives:
                negatives.append(item)
        return negatives


WEEK_S = 7 * 86400.0


class WeekPopularity:
    """Draws items by how many users met them in the week around an event, outside of what its user met at any time.

    A target among such items cannot be told by the calendar: they were what everybody met then.

    Args:
        dataset: the events.
        min_age: draw only items of a year that many before that of the event, or more, so that a target of that age
            does not stand out among new releases; None draws all.

    Attributes:
        n_widened: draws so far for which a week had too few items, and a longer time was taken: two, four, ... weeks.
    """

    def __init__(self, dataset: Dataset, min_age: int | None = None) -> None:
        order = np.argsort(dataset.timestamps, kind="stable")
        self._times, self._items = dataset.timestamps[order], dataset.items[order]
        self._own = np.split(*_by_user(dataset))
        self._n_items = dataset.n_items
        self._years, self._min_age = item_years(dataset), min_age
        self.n_widened = 0

    def sample(self, user: int, time: float, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return `n` different items, each one drawn by its events from 3.5 days before `time` to 3.5 after.

        Raises:
            UsageError: n is out of range.
        """
        excluded = self._own[user]
        if self._min_age is not None:
            excluded = np.append(excluded, np.flatnonzero(~(ages(self._years, time) >= self._min_age)))
        weeks = 1
        while True:
            half = weeks * WEEK_S / 2
            first = np.searchsorted(self._times, time - half, "left")
            last = np.searchsorted(self._times, time + half, "right")
            counts = np.bincount(self._items[first:last], minlength=self._n_items).astype(np.float64)
            counts[excluded] = 0
            items = np.flatnonzero(counts)
            if 1 <= n <= len(items):
                break
            if n < 1 or last - first == len(self._times):
                found = f"from 1 to {len(items):,}, the items that only other users have met"
                raise UsageError(f"`candidates` must be {found}, got {n:,}")
            weeks *= 2
        self.n_widened += weeks > 1
        return rng.choice(items, n, replace=False, p=counts[items] / counts.sum())


def _by_user(dataset: Dataset) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the items of all users, one user after the other, and the places where the next one begins."""
    order = np.argsort(dataset.users, kind="stable")
    return dataset.items[order], np.cumsum(np.bincount(dataset.users, minlength=dataset.n_users))[:-1]


def candidate_negatives(
    excluded: Sequence[int],
    n_items: int,
    n: int,
    rng: np.random.Generator,
    scores: NDArray[np.floating] | None = None,
) -> NDArray[np.int64]:
    """Return `n` items to rank a target among: drawn at random, or those with the highest scores (hard negatives).

    Args:
        excluded: items of the user's history and the held-out ones; -1 stands for no item.
        n_items: of the data set.
        n: how many.
        rng: draws them where there are no scores.
        scores: of each item, (n_items,), or None.

    Raises:
        UsageError: n is out of range.
    """
    is_negative = np.ones(n_items + 1, np.bool_)  # the last place stands for -1, no item
    is_negative[[*excluded, -1]] = False
    negatives = np.flatnonzero(is_negative)
    if not 1 <= n <= len(negatives):
        raise UsageError(
            f"`candidates` must be from 1 to {len(negatives):,}, the items outside of a user's events, got {n:,}"
        )
    if scores is None:
        return rng.choice(negatives, n, replace=False)
    return negatives[np.argsort(-scores[negatives], kind="stable")[:n]]
