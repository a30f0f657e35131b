"""The baseline EASE: linear item-item regression without a diagonal, in closed form.

    P = (X'X + l2 I)^-1, X the users' items as 0 and 1
    B = -P / diag(P), with 0 on the diagonal; score(j | h) sums B[i, j] over the items i of the history h

Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equation 8.

Only items with events have weights. There are two exact forms, of which the smaller one is taken where there are many
items: P itself, inverted in place block by block, or the inverse over the users, out of which P follows:

    P = (I - X' M X) / l2 with M = (X X' + l2 I)^-1

Source: Woodbury 1950.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError
from genrec_edge.prior.cooccurrence import SparseRows
from genrec_edge.storage.process_memory import memory_rooms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_PLAIN_ITEMS = 10_000
"""Up to here the matrix over the items is inverted as a whole: 0.8 GB, three times in memory at once."""
_BLOCK = 1024
_BYTES = 8


class EASE:
    """EASE over the items that have events; all others score 0.

    Args:
        l2: the weight of the regularisation, lambda.
        plain_items: the most items whose matrix is inverted as a whole.
        max_bytes: the most memory to take; None for what is free.
    """

    def __init__(self, *, l2: float = 100.0, plain_items: int = _PLAIN_ITEMS, max_bytes: int | None = None) -> None:
        self._l2, self._plain_items, self._max_bytes = l2, plain_items, max_bytes
        self._n_items = 0
        self._items: NDArray[np.int64]
        """Item indexes with events, ascending."""
        self._weights_of: Callable[[NDArray[np.int64]], NDArray[np.float64]]

    def fit(self, train: Sequence[NDArray[np.int32]], n_items: int) -> None:
        """Invert the matrix over the items or the users.

        Raises:
            UsageError: neither fits in memory; the message says how much they need.
        """
        sets = [np.unique(history) for history in train if len(history)]
        self._n_items = n_items
        flat = np.concatenate([np.empty(0, np.int64), *sets]).astype(np.int64)
        self._items, columns = np.unique(flat, return_inverse=True)
        users = np.repeat(np.arange(len(sets)), [len(items) for items in sets])
        shape = (len(sets), len(self._items))
        n_bytes = self._checked_memory(*shape)
        if shape[1] <= self._plain_items:
            self._weights_of = _over_items(users, columns, shape, self._l2, in_place=False)
        elif n_bytes == _BYTES * shape[0] ** 2:
            self._weights_of = _over_users(users, columns, shape, self._l2)
        else:
            self._weights_of = _over_items(users, columns, shape, self._l2, in_place=True)

    def _checked_memory(self, n_users: int, n_items: int) -> int:
        """Return the bytes of the smaller matrix.

        Raises:
            UsageError: there is not as much.
        """
        is_plain = n_items <= self._plain_items
        n_bytes = _BYTES * (n_items if is_plain else min(n_users, n_items)) ** 2
        needed = n_bytes * (3 if is_plain else 1)
        rooms = [room.free_bytes for room in memory_rooms()] if self._max_bytes is None else [self._max_bytes]
        free = min(rooms, default=None)  # none where the system does not tell
        if free is not None and needed > free:
            message = (
                f"EASE over {n_items:,} items with events and {n_users:,} users needs {needed / 1e9:,.1f} GB "
                f"of memory, {free / 1e9:,.1f} GB are free"
            )
            raise UsageError(message, hint="leave ease out of `baselines`, or rare items and users with `min_count`")
        return n_bytes

    def scores(self, history: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the sums of weights; each item of the history counts once."""
        scores = np.zeros(self._n_items)
        distinct = np.unique(history)
        positions = np.searchsorted(self._items, distinct)
        is_known = positions < len(self._items)
        is_known[is_known] = self._items[positions[is_known]] == distinct[is_known]
        scores[self._items] = self._weights_of(positions[is_known])
        return scores


def _over_items(
    users: NDArray[np.int64],
    columns: NDArray[np.int64],
    shape: tuple[int, int],
    l2: float,
    *,
    in_place: bool,
) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Return the function from items of a history to the sums of their weights, by P."""
    gram = _gram(users, columns, shape, l2)
    inverse = inverted(gram) if in_place else np.linalg.inv(gram)
    diagonal = np.diag(inverse).copy()

    def weights_of(history: NDArray[np.int64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = -inverse[history].sum(axis=0) / diagonal
        sums[history] += 1  # the diagonal of B is 0
        return sums

    return weights_of


def _over_users(
    users: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int], l2: float
) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Return the same function, by M."""
    middle = inverted(_gram(columns, users, (shape[1], shape[0]), l2))
    ones = np.ones(len(users))
    users_of = SparseRows(columns, users, ones, (shape[1], shape[0]))
    diagonal = np.empty(shape[1])
    for item in range(shape[1]):
        own, _ = users_of.row(item)
        diagonal[item] = 1 - middle[np.ix_(own, own)].sum()

    def weights_of(history: NDArray[np.int64]) -> NDArray[np.float64]:
        of_users = middle @ users_of.sums(history, np.ones((1, len(history))))[0]
        sums: NDArray[np.float64] = np.bincount(columns, of_users[users], minlength=shape[1]) / diagonal
        sums[history] -= 1 / diagonal[history]
        sums[history] += 1  # the diagonal of B is 0
        return sums

    return weights_of


def _gram(
    rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int], l2: float
) -> NDArray[np.float64]:
    """Return A'A + l2 I, A the matrix of ones at these places."""
    gram = np.zeros((shape[1], shape[1]))
    np.fill_diagonal(gram, l2)
    order = np.argsort(rows, kind="stable")
    ends = np.cumsum(np.bincount(rows, minlength=shape[0]))[:-1]
    for members in np.split(columns[order], ends):
        gram[np.ix_(members, members)] += 1
    return gram


def inverted(matrix: NDArray[np.float64], block: int = _BLOCK) -> NDArray[np.float64]:
    """Invert a symmetric positive definite matrix in place, and return it. Beside it, two blocks of rows are in memory.

    Gauss-Jordan elimination with blocks on the diagonal as pivots: a positive definite matrix needs no other order.
    """
    n = len(matrix)
    for start in range(0, n, block):
        own = slice(start, min(start + block, n))
        pivot = np.linalg.inv(matrix[own, own])
        rows = pivot @ matrix[own]
        for other in range(0, n, block):
            if other != start:
                part = slice(other, min(other + block, n))
                left = matrix[part, own].copy()
                matrix[part] -= left @ rows
                matrix[part, own] = -left @ pivot
        matrix[own] = rows
        matrix[own, own] = pivot
    return matrix
