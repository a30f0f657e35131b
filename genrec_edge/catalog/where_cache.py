"""Results of filters, kept in memory as bitmaps until the catalog changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BYTES = 16 << 20
"""130 conditions over a million rows."""
_ROW_BITS = 64


class RowSetCache:
    """The rows that satisfy conditions; the least recently used are dropped first. Safe to share between threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._version: object = None
        self._sets: OrderedDict[str, NDArray[np.uint8] | NDArray[np.int64]] = OrderedDict()
        self._n_bytes = 0

    def get(self, version: object, condition: str) -> NDArray[np.int64] | None:
        """Return a copy of the rows kept for a condition at this version of the catalog, None without any."""
        with self._lock:
            if version != self._version or condition not in self._sets:
                return None
            self._sets.move_to_end(condition)
            packed = self._sets[condition]
        return _unpacked(packed)

    def put(self, version: object, condition: str, rows: NDArray[np.int64]) -> None:
        """Keep the rows of a condition, ascending; rows of another version are dropped."""
        packed = _packed(rows)
        with self._lock:
            if version != self._version:
                self._sets.clear()
                self._version, self._n_bytes = version, 0
            if condition in self._sets:
                self._n_bytes -= self._sets.pop(condition).nbytes
            self._sets[condition] = packed
            self._n_bytes += packed.nbytes
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= self._sets.popitem(last=False)[1].nbytes


def _packed(rows: NDArray[np.int64]) -> NDArray[np.uint8] | NDArray[np.int64]:
    """Return rows as one bit for each possible row, or unchanged where that takes less room."""
    if len(rows) == 0 or int(rows[0]) < 0 or int(rows[-1]) >= _ROW_BITS * len(rows):
        return rows.copy()
    bits = np.zeros(int(rows[-1]) + 1, bool)
    bits[rows] = True
    return np.packbits(bits)


def _unpacked(packed: NDArray[np.uint8] | NDArray[np.int64]) -> NDArray[np.int64]:
    if packed.dtype == np.int64:
        return packed.astype(np.int64)
    return np.flatnonzero(np.unpackbits(packed.view(np.uint8)))
