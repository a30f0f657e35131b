"""Sampled negatives: items that a user has not met, for training and for evaluation among candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


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
