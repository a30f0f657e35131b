"""The tokens of one `llama_decode`, in the form that llama.cpp reads."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.coordinates import TokenId


class TokenBatch:
    """One llama_batch whose arrays are numpy memory, filled for one decode after another.

    Args:
        lib: the low-level bindings.
        capacity: tokens at most.
    """

    def __init__(self, lib: Any, capacity: int) -> None:
        self.capacity = capacity
        self._token = np.zeros(capacity, np.int32)
        self._position = np.zeros(capacity, np.int32)
        self._n_sequences = np.ones(capacity, np.int32)
        self._sequence = np.zeros(capacity, np.int32)
        self._output = np.zeros(capacity, np.int8)
        pointer, int32 = ctypes.POINTER(ctypes.c_int32), ctypes.sizeof(ctypes.c_int32)
        base = self._sequence.ctypes.data
        self._sequence_of = (pointer * capacity)(*(ctypes.cast(base + i * int32, pointer) for i in range(capacity)))
        self.struct = lib.llama_batch(
            n_tokens=0,
            token=self._token.ctypes.data_as(pointer),
            embd=None,
            pos=self._position.ctypes.data_as(pointer),
            n_seq_id=self._n_sequences.ctypes.data_as(pointer),
            seq_id=self._sequence_of,
            logits=self._output.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    @property
    def n(self) -> int:
        """How many tokens the batch holds."""
        return int(self.struct.n_tokens)

    def clear(self) -> None:
        """Forget the tokens."""
        self.struct.n_tokens = 0

    def add(self, token_ids: Sequence[TokenId], start: int, sequence: int, *, with_logits: bool) -> None:
        """Append tokens at positions from `start`; `with_logits` says whether the last of them gives logits.

        Raises:
            EngineError: no tokens, or more than the batch has room for.
        """
        at, end = self.n, self.n + len(token_ids)
        if not at < end <= self.capacity:
            raise EngineError(f"{len(token_ids)} tokens do not fit into a batch with {at} of {self.capacity}")
        self._token[at:end] = token_ids
        self._position[at:end] = np.arange(start, start + len(token_ids))
        self._sequence[at:end] = sequence
        self._output[at:end] = 0
        self._output[end - 1] = with_logits
        self.struct.n_tokens = end
