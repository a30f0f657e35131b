"""Transition counts of histories as a sparse matrix: which item follows which, and how closely.

T[i, j] sums 1/d over all positions of all histories where j stands d positions after i, for d up to a window. Knows
indexes only. The prior and the baselines use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class SparseRows:
    """A sparse matrix of (n_rows, n_columns) with fast weighted sums of rows.

    Args:
        rows, columns, values: (n,) each, the entries; entries of one cell are added.
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
        cells, which = np.unique(rows * shape[1] + columns, return_inverse=True)
        self.rows, self.columns = np.divmod(cells, shape[1])
        """(n,) int64 each: row and column of each entry, in the order of rows, then columns."""
        self.values = np.bincount(which, values, minlength=len(cells)).astype(np.float64)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(self.rows, minlength=shape[0]))])

    def row(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the columns and the values of the entries of one row."""
        entries = slice(self._starts[row], self._starts[row + 1])
        return self.columns[entries], self.values[entries]

    def symmetrized(self) -> SparseRows:
        """Return the sum of the matrix, which must be square, and its transpose."""
        rows, columns = np.concatenate([self.rows, self.columns]), np.concatenate([self.columns, self.rows])
        return SparseRows(rows, columns, np.tile(self.values, 2), self.shape)

    def sums(self, rows: NDArray[np.integer], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return weighted sums of rows, (n_sums, n_columns); a row may be given twice.

        Args:
            rows: (n,) row numbers.
            weights: (n_sums, n), the weight of each row in each sum.
        """
        lengths = self._starts[rows + 1] - self._starts[rows]
        which = np.repeat(np.arange(len(rows)), lengths)
        offsets = np.cumsum(lengths) - lengths
        entries = np.arange(len(which)) + (self._starts[rows] - offsets)[which]
        columns, values = self.columns[entries], self.values[entries]
        totals = [np.bincount(columns, weight[which] * values, minlength=self.shape[1]) for weight in weights]
        return np.array(totals, np.float64)


def count_transitions(
    histories: Sequence[NDArray[np.int32]], n_items: int, window: int, n_counted: Sequence[int] | None = None
) -> SparseRows:
    """Return T, (n_items, n_items).

    Args:
        histories: item indexes below `n_items`, oldest first.
        n_items: of the catalog.
        window: the largest distance.
        n_counted: how many of the first items of each history were counted before: transitions among them are skipped.
    """
    flat = concatenated(histories)
    lengths = np.array([len(history) for history in histories], np.int64)
    owners = np.repeat(np.arange(len(histories)), lengths)
    position = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    first_new = np.zeros(len(histories), np.int64) if n_counted is None else np.array(n_counted)
    is_new = position >= np.repeat(first_new, lengths)
    cells, totals = np.empty(0, np.int64), np.empty(0)
    for d in range(1, min(window, len(flat) - 1) + 1):
        is_transition = (owners[d:] == owners[:-d]) & is_new[d:]
        new = (flat[:-d] * n_items + flat[d:])[is_transition]
        cells, which = np.unique(np.concatenate([cells, new]), return_inverse=True)
        totals = np.bincount(which, np.concatenate([totals, np.full(len(new), 1 / d)])).astype(np.float64)
    return SparseRows(cells // n_items, cells % n_items, totals, (n_items, n_items))


def event_counts(histories: Sequence[NDArray[np.int32]], n_items: int) -> NDArray[np.int64]:
    """Return the number of events of each item, (n_items,)."""
    return np.bincount(concatenated(histories), minlength=n_items)


def concatenated(arrays: Sequence[NDArray[np.int32]] | Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the concatenation of index arrays as int64; an empty array for no arrays."""
    return np.concatenate([np.empty(0, np.int64), *arrays])
