"""Which windows of which histories a training step sees.

They are a function of the seed and the step, so that a run can go on after a kill, and several processes share a step,
without any state.
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

_LEAST = 8
"""A window at the end of a history begins at least so many titles before it, so that it has something to learn."""


@dataclass(frozen=True, slots=True)
class Window:
    """Titles of one user, oldest first, as item indexes.

    Attributes:
        user: whose.
        before: what the user had met before; no sequence shows it, but a prior knows it.
        items: what the sequence shows.
        first_target: from which of `items` on they are targets.
    """

    user: int
    before: tuple[int, ...]
    items: tuple[int, ...]
    first_target: int = 0


class WindowSampler:
    """Training histories.

    Args:
        histories: of each user, item indexes, oldest first.
        window: titles of one window at most.
        seed: of all draws.
        all_targets: every title is a target, the first one given no history; else only the last one is.
        times: of each event; those with the same time are shuffled every time they are drawn. None keeps the order.
        drop: share of a window's titles that is left out at random, on average; they count as not met.

    Raises:
        UsageError: no history has two titles.
    """

    def __init__(
        self,
        histories: Sequence[NDArray[np.int64]],
        *,
        window: int,
        seed: int,
        all_targets: bool = True,
        times: Sequence[NDArray[np.float64]] | None = None,
        drop: float = 0.0,
    ) -> None:
        self._histories = histories
        self._window = window
        self._seed = seed
        self._all_targets = all_targets
        self._times = times
        self._drop = drop
        self._ends = np.cumsum([len(history) if len(history) > 1 else 0 for history in histories])
        self.n_events = int(self._ends[-1])
        if not self.n_events:
            raise UsageError("no user has two events to train on", hint="a larger data set is needed")

    def draw(self, step: int, n: int) -> list[Window]:
        """Return the `n` windows of a step: users in proportion to their events, begun at random places."""
        rng = np.random.default_rng([self._seed, step])
        return [self._one(rng) for _ in range(n)]

    def _one(self, rng: np.random.Generator) -> Window:
        user = int(np.searchsorted(self._ends, rng.integers(self.n_events), side="right"))
        history = self._histories[user]
        if self._times is not None:
            history = history[np.lexsort((rng.random(len(history)), self._times[user]))]
        n, rate = len(history), 2 * self._drop * rng.random() if self._drop else 0.0
        reach = math.ceil(self._window / (1 - rate))
        if self._all_targets:
            # From half a window before the beginning on, so that the first titles come as often as the others.
            start = int(rng.integers(-(self._window // 2), n)) if n > self._window else int(rng.integers(0, n // 2 + 1))
            start = max(0, min(start, n - min(_LEAST, self._window)))
            stop = min(n, start + reach)
        else:
            stop = int(rng.integers(2, n + 1))
            start = max(0, stop - reach)
        before, shown = history[:start], history[start:stop]
        if rate:
            kept = rng.random(len(shown)) >= rate
            kept[[0, -1]] = True
            shown = shown[kept]
        shown = shown[: self._window] if self._all_targets else shown[-self._window :]
        first_target = 0 if self._all_targets else len(shown) - 1
        return Window(user, tuple(before.tolist()), tuple(shown.tolist()), first_target)
