"""The last step of a model, logits from its last hidden state, for the few tokens that a search needs.

A search over a trie reads some twenty logits after a prefix, and llama.cpp computes all of them: 49,152 rows of 576
weights, three fifths of what a token costs in a model of five layers. So llama.cpp is stopped before that product, and
the rows that are needed are read from the file, where they lie memory-mapped anyway. Hidden states are rounded to
the precision that llama.cpp itself multiplies a matrix of that type with: the logits are its logits.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import sys
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from genrec_edge.engine.bindings import library
from genrec_edge.engine.ggml_tensor import GgmlTensor, matrix_product_op, rows_at
from genrec_edge.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.gguf.types import GgufHeader

log = logging.getLogger(__name__)

_ARCHITECTURES = frozenset({"llama", "qwen2", "qwen3"})
"""Whose logits are the product of the output matrix and the normed last hidden state, and nothing else.
Source: src/models/llama.cpp, qwen2.cpp and qwen3.cpp (llama.cpp 0c1e57098)."""
_OUTPUT_CHANGERS = frozenset({"output.bias", "output.scale"})
"""Tensors that change what comes out of the output matrix."""
_HIDDEN_NAME = b"result_norm\0"  # llama.cpp's name of the tensor that enters the output matrix
_NAME_OFFSET = GgmlTensor.name.offset
_Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])  # block_q8_0 of ggml/src/ggml-common.h
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "Q8_0": _Q8_0}


class OutputMatrix:
    """The rows of a model's output matrix, one for each token of the vocabulary, memory-mapped.

    Args:
        rows: (n_vocab, n_embd) floats, or (n_vocab, n_embd / 32) blocks of Q8_0.
        mapped: the memory they lie in, if it is that of a file.
    """

    def __init__(self, rows: NDArray[Any], mapped: mmap.mmap | None = None) -> None:
        self._rows = rows
        self._mapped = mapped

    @classmethod
    def open(cls, header: GgufHeader, path: Path) -> OutputMatrix | None:
        """Return the output matrix of a model file, or None where the logits are not just its product. Read-only."""
        tensors = {tensor.name: tensor for tensor in header.tensors}
        output = tensors.get("output.weight") or tensors.get("token_embd.weight")  # tied
        if header.architecture not in _ARCHITECTURES or _OUTPUT_CHANGERS & tensors.keys():
            return None
        if output is None or (dtype := _DTYPES.get(output.type)) is None:
            return None
        n_embd = output.shape[0]
        n_vocab = output.n_elements // n_embd  # the shape may end in ones
        shape = (n_vocab, n_embd // 32 if dtype is _Q8_0 else n_embd)
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        rows = np.frombuffer(mapped, dtype, shape[0] * shape[1], output.offset).reshape(shape)
        return cls(rows, mapped)

    def logits(self, hidden: NDArray[np.float32], needed: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        """Return for each row of `hidden`, (n, n_embd), the logits of the token ids at the same place in `needed`."""
        counts = [len(token_ids) for token_ids in needed]
        weights = _floats(self._rows[np.concatenate(needed)])
        if self._mapped is not None and sys.platform != "win32":
            self._mapped.madvise(mmap.MADV_DONTNEED)  # llama.cpp has the same pages mapped: they need not count twice
        owners = np.repeat(np.arange(len(hidden)), counts)
        products = np.einsum("ij,ij->i", weights, self._rounded(hidden)[owners])
        return np.split(products, np.cumsum(counts)[:-1])

    def _rounded(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return hidden states as llama.cpp rounds them before it multiplies (`vec_dot_type` of ggml-cpu.c)."""
        if self._rows.dtype != _Q8_0:
            return hidden.astype(self._rows.dtype).astype(np.float32)
        blocks = hidden.reshape(len(hidden), -1, 32)
        largest = np.abs(blocks).max(axis=2, keepdims=True)
        steps = np.rint(blocks * (127 / np.where(largest > 0, largest, 1)))
        return np.asarray(steps * (largest / 127).astype(np.float16).astype(np.float32)).reshape(hidden.shape)


class OutputHead:
    """Ends calls of a context with their last hidden states, and computes logits from them. One for each context.

    Attributes:
        callback: to be given to the context as `cb_eval`; it must not outlive this object.

    Raises:
        EngineError: the tensors of the installed llama.cpp have an unknown layout.
    """

    def __init__(self, rows: OutputMatrix) -> None:
        matrix_product_op()  # checks the layout of tensors
        self.callback = library().ggml_backend_sched_eval_callback(self._on_tensor)
        self._rows = rows
        self._stops = False
        self._hidden: list[NDArray[np.float32]] = []
        self._failure: BaseException | None = None

    @classmethod
    def of(cls, rows: OutputMatrix | None) -> Self | None:
        """Return a head, or None without rows or if the tensors of the installed llama.cpp have an unknown layout."""
        try:
            return None if rows is None else cls(rows)
        except EngineError as e:
            log.info("llama.cpp computes all logits of every token: %s", e)
            return None

    def begin(self, *, stop_before_logits: bool) -> None:
        """Prepare for a call, which ends with its hidden states or else runs on to all its logits."""
        self._stops = stop_before_logits
        self._hidden.clear()
        self._failure = None

    def logits(self, needed: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        """Return the logits of the token ids needed of each output of the call that has ended, in order.

        Raises:
            EngineError: the call had another number of outputs, or they were not float32.
            BaseException: whatever was raised while llama.cpp called back.
        """
        if self._failure is not None:
            raise self._failure
        n_found = sum(len(rows) for rows in self._hidden)
        if n_found != len(needed):
            raise EngineError(f"llama.cpp returned {n_found} hidden states, expected {len(needed)}")
        return self._rows.logits(np.concatenate(self._hidden), needed)

    def _on_tensor(self, address: int, ask: bool, _user: object) -> bool:
        """Called by llama.cpp: whether it wants this tensor (`ask`), or take it and end the call."""
        try:
            if ask:
                return self._stops and ctypes.string_at(address + _NAME_OFFSET, len(_HIDDEN_NAME)) == _HIDDEN_NAME
            self._hidden.append(rows_at(address).copy())
        except BaseException as e:  # ctypes would print it and go on
            self._failure = e
        return False


def _floats(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows of the matrix as (n, n_embd) float32."""
    if rows.dtype != _Q8_0:
        return rows.astype(np.float32)
    return np.asarray(rows["values"] * rows["scale"].astype(np.float32)[..., None]).reshape(len(rows), -1)
