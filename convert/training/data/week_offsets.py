"""What everybody met in the week of an event: what the title that came is explained beyond.

With it the probability of a title is the model's times its share of the week, normalised at each node of the trie. So
the model learns lift: what of a history speaks for a title, not that it was in the cinemas that week.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genrec_edge.datasets.negatives import WEEK_S

if TYPE_CHECKING:
    from genrec_edge.datasets.folder import Dataset

OffsetFunction = Callable[[int, Sequence[int]], NDArray[np.float32]]
"""(user, items) -> (len(items), n_positions) float32 log-probabilities over the positions of a trie."""

_OF_WEEK, _OF_ALL_TIME = 0.9, 0.09
"""Shares of the mass by events of the week, and by all events; the rest is spread over all items."""


class WeekOffsets:
    """The shares of the items in the week of each training event.

    Args:
        dataset: the events; a user's first event with an item counts.
        histories: training items of each user.
    """

    def __init__(self, dataset: Dataset, histories: Sequence[NDArray[np.int32]]) -> None:
        self._n_items = dataset.n_items
        weeks = np.floor(dataset.timestamps / WEEK_S).astype(np.int64)
        order = np.argsort(-dataset.timestamps, kind="stable")  # the first event of a pair is set last
        pairs = zip(dataset.users[order].tolist(), dataset.items[order].tolist(), weeks[order].tolist(), strict=True)
        trained = [frozenset(history.tolist()) for history in histories]
        self._week_of = {(user, item): week for user, item, week in pairs if item in trained[user]}
        counts = np.bincount(np.concatenate(list(histories)), minlength=self._n_items)
        self._all_time = _OF_ALL_TIME * counts / counts.sum() + (1 - _OF_WEEK - _OF_ALL_TIME) / self._n_items
        self._shares: dict[int, NDArray[np.float64]] = {}
        by_week: dict[int, list[int]] = {}
        for (_, item), week in self._week_of.items():
            by_week.setdefault(week, []).append(item)
        for week, items in by_week.items():
            of_week = np.bincount(items, minlength=self._n_items)
            self._shares[week] = _OF_WEEK * of_week / of_week.sum() + self._all_time

    def log_shares(self, user: int, item: int) -> NDArray[np.float32]:
        """Return the log of each item's share in the week in which a user met an item, (n_items,).

        They sum to one; of an item that the user did not meet they are those of all time, nearly.
        """
        week = self._week_of.get((user, item))
        shares = self._all_time / self._all_time.sum() if week is None else self._shares[week]
        return np.log(shares).astype(np.float32)

    def over_trie(self, rows: NDArray[np.int64]) -> OffsetFunction:
        """Return the same over the positions of a trie.

        `rows` has the item at each position; numbers from the data set's on are other titles, which get what an item
        without events has.
        """
        is_item = rows < self._n_items
        least = np.log((1 - _OF_WEEK - _OF_ALL_TIME) / self._n_items)

        def log_shares(user: int, items: Sequence[int]) -> NDArray[np.float32]:
            spread = np.full((len(items), len(rows)), least, np.float32)
            for line, item in zip(spread, items, strict=True):
                line[is_item] = self.log_shares(user, item)[rows[is_item]]
            return spread

        return log_shares
