"""Which item follows which in histories, and how closely: counted once, kept sparse.

T[i, j] sums 1/d over all places of all histories where j stands d places after i, for d up to a window. Knows indexes
only; what is made of the counts is known to `baselines.py` and `priors.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class SparseRows:
    """A sparse matrix of (n_rows, n_columns) whose rows can be added up.

    Args:
        rows, columns, values: (n,) each, the entries; those of one place are added.
        shape: (n_rows, n_columns).
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        values: NDArray[np.float64],
        shape: tuple[int, int],
    ) -> None:
        self.shape = shape
        places, which = np.unique(rows * shape[1] + columns, return_inverse=True)
        self.rows, self.columns = np.divmod(places, shape[1])
        """(n,) int64 each: the places of the entries, in the order of rows, then columns."""
        self.values = np.bincount(which, values, minlength=len(places)).astype(np.float64)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(self.rows, minlength=shape[0]))])

    def row(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the columns and the values of the entries of one row."""
        entries = slice(self._starts[row], self._starts[row + 1])
        return self.columns[entries], self.values[entries]

    def both_ways(self) -> SparseRows:
        """Return the matrix and its transpose added; it is square."""
        rows, columns = np.concatenate([self.rows, self.columns]), np.concatenate([self.columns, self.rows])
        return SparseRows(rows, columns, np.tile(self.values, 2), self.shape)

    def sums(self, rows: NDArray[np.integer], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return weighted sums of some rows, (n_sums, n_columns); a row may be given twice.

        Args:
            rows: (n,) row numbers.
            weights: (n_sums, n), the weight of each row in each sum.
        """
        lengths = self._starts[rows + 1] - self._starts[rows]
        which = np.repeat(np.arange(len(rows)), lengths)
        begins = np.cumsum(lengths) - lengths
        entries = np.arange(len(which)) + (self._starts[rows] - begins)[which]
        columns, values = self.columns[entries], self.values[entries]
        totals = [np.bincount(columns, weight[which] * values, minlength=self.shape[1]) for weight in weights]
        return np.array(totals, np.float64)


def count_transitions(
    histories: Sequence[NDArray[np.int32]], n_items: int, window: int, n_known: Sequence[int] | None = None
) -> SparseRows:
    """Return T, (n_items, n_items).

    Args:
        histories: item indexes below `n_items`, oldest first.
        n_items: of the catalog.
        window: the largest distance.
        n_known: how many of the first items of each history are only there to be followed: what follows what among them
            was counted before.
    """
    flat = joined(histories)
    lengths = np.array([len(history) for history in histories], np.int64)
    owners = np.repeat(np.arange(len(histories)), lengths)
    place = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    is_new = place >= np.repeat(np.zeros(len(histories), np.int64) if n_known is None else np.array(n_known), lengths)
    places, totals = np.empty(0, np.int64), np.empty(0)
    for d in range(1, min(window, len(flat) - 1) + 1):
        counts = (owners[d:] == owners[:-d]) & is_new[d:]
        new = (flat[:-d] * n_items + flat[d:])[counts]
        places, which = np.unique(np.concatenate([places, new]), return_inverse=True)
        totals = np.bincount(which, np.concatenate([totals, np.full(len(new), 1 / d)])).astype(np.float64)
    return SparseRows(places // n_items, places % n_items, totals, (n_items, n_items))


def event_counts(histories: Sequence[NDArray[np.int32]], n_items: int) -> NDArray[np.int64]:
    """Return the number of events of each item, (n_items,)."""
    return np.bincount(joined(histories), minlength=n_items)


def joined(arrays: Sequence[NDArray[np.int32]] | Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return arrays of indexes one after the other; none of them are an empty array."""
    return np.concatenate([np.empty(0, np.int64), *arrays])
