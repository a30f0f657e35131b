"""Which windows of which histories a training step trains on.

The windows are a function of the seed and the step alone. A run can therefore be resumed, and several processes can
share a step, without any state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_MIN_LAST_WINDOW = 8
"""A window at the end of a history starts at least this many titles before the end, so that it has enough targets."""


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive items of one user's history, oldest first.

    Attributes:
        user: the user's number in the data set.
        before: the user's items before the window; they are not in the sequence, but the prior counts them.
        items: the items in the sequence.
        first_target: index in `items` of the first target; all that follow are targets, too.
    """

    user: int
    before: tuple[int, ...]
    items: tuple[int, ...]
    first_target: int = 0


class WindowSampler:
    """Draws windows of training histories.

    Args:
        histories: item indexes of each user, oldest first. Histories of fewer than two items are not used.
        window: maximum number of titles in a window.
        seed: seed of all draws.
        all_targets: whether every title of a window is a target (the first one without any history before it), or only
            the last one.
        timestamps: of each event, per user. Events with equal timestamps are shuffled at every draw. None keeps the
            order of `histories`.
        drop: average share, 0..0.45, of a window's titles that are left out at random. The model and the prior do not
            see them.

    Raises:
        UsageError: no history has two items.
    """

    def __init__(
        self,
        histories: Sequence[NDArray[np.int64]],
        *,
        window: int,
        seed: int,
        all_targets: bool = True,
        timestamps: Sequence[NDArray[np.float64]] | None = None,
        drop: float = 0.0,
    ) -> None:
        self._histories = histories
        self._window = window
        self._seed = seed
        self._all_targets = all_targets
        self._timestamps = timestamps
        self._drop = drop
        self._user_ends = np.cumsum([len(history) if len(history) > 1 else 0 for history in histories])
        self.n_events = int(self._user_ends[-1])
        if not self.n_events:
            raise UsageError("no user has two events to train on", hint="train on a larger data set")

    def sample(self, step: int, n: int) -> list[Window]:
        """Return the `n` windows of a step: users in proportion to their events, random starts."""
        rng = np.random.default_rng([self._seed, step])
        return [self._sample_one(rng) for _ in range(n)]

    def _sample_one(self, rng: np.random.Generator) -> Window:
        user = int(np.searchsorted(self._user_ends, rng.integers(self.n_events), side="right"))
        history = self._history(user, rng)
        drop_rate = 2 * self._drop * rng.random() if self._drop else 0.0
        start, stop = self._bounds(len(history), math.ceil(self._window / (1 - drop_rate)), rng)
        before, items = history[:start], history[start:stop]
        if drop_rate:
            is_kept = rng.random(len(items)) >= drop_rate
            is_kept[[0, -1]] = True
            items = items[is_kept]
        items = items[: self._window] if self._all_targets else items[-self._window :]
        first_target = 0 if self._all_targets else len(items) - 1
        return Window(user, tuple(before.tolist()), tuple(items.tolist()), first_target)

    def _history(self, user: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return a user's history, with events of the same time in random order."""
        history = self._histories[user]
        if self._timestamps is None:
            return history
        return history[np.lexsort((rng.random(len(history)), self._timestamps[user]))]

    def _bounds(self, n: int, max_length: int, rng: np.random.Generator) -> tuple[int, int]:
        """Return start and stop of a window in a history of `n` items, at most `max_length` long before dropping."""
        if not self._all_targets:
            stop = int(rng.integers(2, n + 1))
            return max(0, stop - max_length), stop
        # Draws below zero all start at the first title, so that it is a target as often as the others.
        low, high = (-(self._window // 2), n) if n > self._window else (0, n // 2 + 1)
        start = int(rng.integers(low, high))
        start = max(0, min(start, n - min(_MIN_LAST_WINDOW, self._window)))
        return start, min(n, start + max_length)
