"""EASE, a linear model of which items occur together in histories, by its inverse Gram matrix P.

    P = (X'X + lambda I)^-1, X the users-by-items matrix of ones and zeros
    score(j | h) = sum over i in h of -P[i, j] / P[j, j]

Source: Steck 2019, arXiv 1905.03375, equation 8. P covers the most frequent items only: its cost grows with the
third power of their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

REGULARISATION = 100.0
"""lambda, chosen on the validation items of MovieLens-100K (docs/training.md)."""
MAX_ITEMS = 4096
"""128 MB in float64; half a minute on two cores."""
_USERS_AT_ONCE = 8192
"""Whose items are in memory as a matrix: 128 MB."""
_MIN_SCORE = 1e-5
"""Smaller scores are set to 0: float noise, or nearly so."""


@dataclass(frozen=True, slots=True, eq=False)
class EaseInverse:
    """P over some items.

    Attributes:
        n_items: of the catalog.
        items: (m,) int64, item indexes, ascending.
        inverse: (m, m) float32, P; rows and columns are in the order of `items`.
    """

    n_items: int
    items: NDArray[np.int64]
    inverse: NDArray[np.float32]

    @classmethod
    def of(cls, histories: Sequence[NDArray[np.int32]], n_items: int) -> EaseInverse:
        """Return P of histories of item indexes; an item counts once per history."""
        distinct = [np.unique(history) for history in histories]
        flat = np.concatenate([np.empty(0, np.int32), *distinct])
        users = np.repeat(np.arange(len(distinct)), [len(items) for items in distinct])
        frequent = np.argsort(-np.bincount(flat, minlength=n_items), kind="stable")[:MAX_ITEMS]
        items = np.sort(frequent[np.isin(frequent, flat)])
        positions = np.searchsorted(items, flat)
        is_covered = np.isin(flat, items)
        users, positions = users[is_covered], positions[is_covered]
        gram = REGULARISATION * np.eye(len(items))
        for start in range(0, len(distinct), _USERS_AT_ONCE):
            own = slice(*np.searchsorted(users, [start, start + _USERS_AT_ONCE]))
            matrix = np.zeros((min(_USERS_AT_ONCE, len(distinct) - start), len(items)), np.float32)
            matrix[users[own] - start, positions[own]] = 1
            gram += matrix.T @ matrix
        return cls(n_items, items, np.linalg.inv(gram).astype(np.float32))

    def positions(self, history: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the positions of items among `items`, without those that are not there."""
        found = np.searchsorted(self.items, history)
        inside = found < len(self.items)
        found, history = found[inside], history[inside]
        kept: NDArray[np.int64] = found[self.items[found] == history]
        return kept

    def scores(self, history: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the score of each item after distinct items, (n_items,), at least 0, and 0 for these items."""
        row_sum = self.inverse[self.positions(history)].sum(0, dtype=np.float64)
        scores = self.to_catalog(-row_sum / np.diag(self.inverse))
        scores[history] = 0.0
        return scores

    def without(self, own: NDArray[np.integer]) -> EaseWithoutHistory:
        """Return the update of P that removes one of the counted histories, x.

        A rank-one update: (A - x x')^-1 = P + (P x)(P x)' / (1 - x' P x).
        Source: Sherman and Morrison 1950, equation 2.
        """
        positions = np.unique(self.positions(own))
        own_rows = self.inverse[positions].sum(0, dtype=np.float64)
        rest = 1 - float(own_rows[positions].sum())
        return EaseWithoutHistory(own_rows, rest, np.diag(self.inverse) + own_rows**2 / rest)

    def to_catalog(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scores of `items`, (..., m), as scores of all items of the catalog, (..., n_items)."""
        in_catalog = np.zeros((*scores.shape[:-1], self.n_items))
        in_catalog[..., self.items] = np.where(scores > _MIN_SCORE, scores, 0.0)
        return in_catalog


@dataclass(frozen=True, slots=True, eq=False)
class EaseWithoutHistory:
    """An `EaseInverse` without one history x.

    Attributes:
        own_rows: P x, (m,), the sum of the rows of the history's items.
        rest: 1 - x' P x.
        diagonal: of the updated inverse, (m,).
    """

    own_rows: NDArray[np.float64]
    rest: float
    diagonal: NDArray[np.float64]

    def scores(self, row_sums: NDArray[np.float64], own_sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores of `items` after n histories, (n, m).

        Args:
            row_sums: (n, m), the sum of P's rows of each history.
            own_sums: (n,), the sum of `own_rows` over the items of each history.
        """
        scores: NDArray[np.float64] = -(row_sums + (own_sums / self.rest)[:, None] * self.own_rows) / self.diagonal
        return scores
