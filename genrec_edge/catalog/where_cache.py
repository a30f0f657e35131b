"""Sets of rows, kept in memory as bitmaps while what they were taken from stays as it is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 16 << 20
"""130 conditions over a million rows."""
_ROW_BITS = 64


class RowSetCache:
    """The rows that conditions stand for, the least recently used forgotten first. Shared freely between threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._version: object = None
        self._sets: OrderedDict[str, NDArray[np.uint8] | NDArray[np.int64]] = OrderedDict()
        self._n_bytes = 0

    def get(self, version: object, condition: str) -> NDArray[np.int64] | None:
        """Return what was put under this condition at this version, an array of the caller's own, or None."""
        with self._lock:
            if version != self._version or condition not in self._sets:
                return None
            self._sets.move_to_end(condition)
            kept = self._sets[condition]
        return _unpacked(kept)

    def put(self, version: object, condition: str, rows: NDArray[np.int64]) -> None:
        """Keep rows, ascending; all that was kept of another version is dropped."""
        packed = _packed(rows)
        with self._lock:
            if version != self._version:
                self._sets.clear()
                self._version, self._n_bytes = version, 0
            if condition in self._sets:
                self._n_bytes -= self._sets.pop(condition).nbytes
            self._sets[condition] = packed
            self._n_bytes += packed.nbytes
            while self._n_bytes > self._most_bytes:
                self._n_bytes -= self._sets.popitem(last=False)[1].nbytes


def _packed(rows: NDArray[np.int64]) -> NDArray[np.uint8] | NDArray[np.int64]:
    """Return rows as one bit for each possible row, or as they are where that takes less room."""
    if len(rows) == 0 or int(rows[0]) < 0 or int(rows[-1]) >= _ROW_BITS * len(rows):
        return rows.copy()
    bits = np.zeros(int(rows[-1]) + 1, bool)
    bits[rows] = True
    return np.packbits(bits)


def _unpacked(kept: NDArray[np.uint8] | NDArray[np.int64]) -> NDArray[np.int64]:
    if kept.dtype == np.int64:
        return kept.astype(np.int64)
    return np.flatnonzero(np.unpackbits(kept.view(np.uint8)))
