"""The sequence prior without a user's own events: what a model is trained with, and what coefficients are fitted to.

A prior that had counted the events it explains would be too sure of them. Only the contribution of one history is
subtracted, so nothing is counted again. Knows counts and indexes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.prior.cooccurrence import SparseRows, count_transitions
from genrec_edge.prior.model import ALPHA, DECAYS, DEFAULT, WINDOW, Coefficients, PriorCounts, log_distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.prior.ease import EaseInverse, EaseWithoutHistory

    CrossFitted = Callable[[int, NDArray[np.integer], int], NDArray[np.float32]]
    WithoutUser = Callable[[int, NDArray[np.integer], int], tuple[NDArray[np.float64], NDArray[np.int64]]]

_FLOAT_NOISE = 1e-12
"""Smaller sums are what a subtraction leaves of 0."""
_DEPTH = 270
"""0.95 to this power is less than a millionth: older items are left out."""
_CACHED_USERS = 256
"""Users whose contributions are kept in memory: half a megabyte each with 28,000 items."""


def cross_fitted(
    histories: Sequence[NDArray[np.int32]], n_items: int, coefficients: Coefficients = DEFAULT
) -> CrossFitted:
    """Count histories, and return the function (user, history, start) that a model is trained with.

    It returns the log-probabilities of the sequence prior for the positions of `history` from `start` on, each after
    all items before it: (len(history) - start, n_items) float32. `history` may be any variant of the user's own. The
    counts exclude the user's own events.
    """
    without_user = leave_user_out(PriorCounts.of(histories, n_items), histories)

    def log_probs(user: int, history: NDArray[np.integer], start: int) -> NDArray[np.float32]:
        sums, events = without_user(user, history, start)
        prefixes = [history[:position] for position in range(start, len(history))]
        return log_distribution(sums, events, prefixes, coefficients).astype(np.float32)

    return log_probs


def leave_user_out(counts: PriorCounts, histories: Sequence[NDArray[np.int32]]) -> WithoutUser:
    """Return (user, history, start) -> (sums, events) for `features`: (n, n_decays + 1, n_items) and (n_items,).

    There is a row for each of the n positions of `history` from `start` on. `counts` were made of `histories`; the
    contribution of the user's own history is subtracted.
    """
    ease, decays = counts.ease, np.array(DECAYS)[:, None]

    @functools.lru_cache(_CACHED_USERS)
    def contribution(user: int) -> tuple[SparseRows, NDArray[np.int64], NDArray[np.float64], EaseWithoutHistory]:
        cooccurrence = count_transitions([histories[user]], counts.n_items, WINDOW).symmetrized()
        events = counts.events - np.bincount(histories[user], minlength=counts.n_items)
        return cooccurrence, events, np.maximum(events, 1) ** -ALPHA, ease.without(histories[user])

    def sums_and_events(
        user: int, history: NDArray[np.integer], start: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        own, events, scale, ease_without = contribution(user)
        before, after = history[max(0, start - _DEPTH) : start][::-1], history[start:]
        sums = np.zeros((len(after), len(DECAYS) + 1, counts.n_items))
        weights = decays ** np.arange(len(before)) * scale[before]
        running = counts.cooccurrence.sums(before, weights) - own.sums(before, weights)
        for position, item in enumerate(after.tolist()):
            sums[position, :-1] = running
            running *= decays
            for matrix, sign in ((counts.cooccurrence, 1.0), (own, -1.0)):
                columns, values = matrix.row(item)
                running[:, columns] += sign * scale[item] * values
        sums[sums < _FLOAT_NOISE] = 0.0
        sums[:, -1] = _ease_scores(ease, ease_without, history, start)
        return sums, events

    return sums_and_events


def _ease_scores(
    ease: EaseInverse, without: EaseWithoutHistory, history: NDArray[np.integer], start: int
) -> NDArray[np.float64]:
    """Return EASE's scores for the positions of a history from `start` on, (n, n_items); 0 for items before them."""
    after = history[start:]
    in_history = np.isin(np.arange(ease.n_items), history[:start])  # EASE counts an item once
    rows = ease.positions(np.flatnonzero(in_history))
    row_sums = np.zeros((len(after), len(ease.items)))
    own_sums = np.full(len(after), without.own_rows[rows].sum())
    row_sums[:] = ease.inverse[rows].sum(0, dtype=np.float64)
    for position, item in enumerate(after[:-1].tolist(), 1):
        rows = ease.positions(after[position - 1 : position])
        if not in_history[item] and len(rows):
            row_sums[position:] += ease.inverse[rows[0]]
            own_sums[position:] += without.own_rows[rows[0]]
        in_history[item] = True
    scores = ease.to_catalog(without.scores(row_sums, own_sums))
    for position in range(len(after)):
        scores[position, history[: start + position]] = 0.0
    return scores
