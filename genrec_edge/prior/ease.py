"""Which items go together in whole histories, each pair judged beside all others: the inverse that EASE is made of.

    P = (X'X + lambda I)^-1, X the users-by-items matrix of ones and zeros
    score(j | h) = sum over i in h of -P[i, j] / P[j, j]

Source: Steck 2019, arXiv 1905.03375, equation 8. The inverse has a row for each of the most frequent items only: its
cost grows with the third power of their number.
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
MOST_ITEMS = 4096
"""128 MB in float64; half a minute on two cores."""
_LEAST = 1e-5
"""A score below is none: float noise, or as good as nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class EaseInverse:
    """P over some items.

    Attributes:
        n_items: of the catalog.
        items: (m,) int64, item indexes, ascending.
        inverse: (m, m) float32, P; its rows and columns stand in the order of `items`.
    """

    n_items: int
    items: NDArray[np.int64]
    inverse: NDArray[np.float32]

    @classmethod
    def of(cls, histories: Sequence[NDArray[np.int32]], n_items: int) -> EaseInverse:
        """Return P of histories of item indexes; an item counts once a history."""
        owned = [np.unique(history) for history in histories]
        flat = np.concatenate([np.empty(0, np.int32), *owned])
        users = np.repeat(np.arange(len(owned)), [len(items) for items in owned])
        frequent = np.argsort(-np.bincount(flat, minlength=n_items), kind="stable")[:MOST_ITEMS]
        items = np.sort(frequent[np.isin(frequent, flat)])
        places = np.searchsorted(items, flat)
        is_in = np.isin(flat, items)
        matrix = np.zeros((len(owned), len(items)), np.float32)
        matrix[users[is_in], places[is_in]] = 1
        together = (matrix.T @ matrix).astype(np.float64) + REGULARISATION * np.eye(len(items))
        return cls(n_items, items, np.linalg.inv(together).astype(np.float32))

    def places(self, history: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return where items stand among `items`, those that do not left out."""
        found = np.searchsorted(self.items, history)
        inside = found < len(self.items)
        found, history = found[inside], history[inside]
        kept: NDArray[np.int64] = found[self.items[found] == history]
        return kept

    def scores(self, history: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the score of each item of the catalog after a history, (n_items,): 0 where it is less, and if seen."""
        summed = self.inverse[self.places(history)].sum(0, dtype=np.float64)
        found = self.spread(-summed / np.diag(self.inverse))
        found[history] = 0.0
        return found

    def without(self, own: NDArray[np.integer]) -> EaseWithoutHistory:
        """Return what changes where one of the histories had not been counted.

        What its x did to the inverse is undone by one vector: (A - x x')^-1 = P + (P x)(P x)' / (1 - x' P x).
        Source: Sherman and Morrison 1950, equation 2.
        """
        places = np.unique(self.places(own))
        pulled = self.inverse[places].sum(0, dtype=np.float64)
        rest = 1 - float(pulled[places].sum())
        return EaseWithoutHistory(pulled, rest, np.diag(self.inverse) + pulled**2 / rest)

    def spread(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scores of `items`, (..., m), as scores of all items of the catalog, (..., n_items)."""
        everywhere = np.zeros((*scores.shape[:-1], self.n_items))
        everywhere[..., self.items] = np.where(scores > _LEAST, scores, 0.0)
        return everywhere


@dataclass(frozen=True, slots=True, eq=False)
class EaseWithoutHistory:
    """One history taken out of a `EaseInverse`: P x, (m,), 1 - x' P x, and the diagonal of the inverse that is left."""

    pulled: NDArray[np.float64]
    rest: float
    diagonal: NDArray[np.float64]

    def scores(self, summed: NDArray[np.float64], pulled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores of `items` after histories, (n, m).

        Args:
            summed: (n, m), the sums of P's rows of each history.
            pulled: (n,), the sums of `self.pulled` over each history.
        """
        found: NDArray[np.float64] = -(summed + (pulled / self.rest)[:, None] * self.pulled) / self.diagonal
        return found
