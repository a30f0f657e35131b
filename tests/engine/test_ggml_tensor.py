"""Tensors of llama.cpp read in place: the operation that is looked for, and which tensors are read."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.engine import ggml_tensor
from genrec_edge.engine.bindings import tensor_library
from genrec_edge.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def fresh_layout() -> Iterator[Callable[[], int]]:
    """The check of the layout, which is otherwise done once a process."""
    ggml_tensor.matrix_product_op.cache_clear()
    yield ggml_tensor.matrix_product_op
    ggml_tensor.matrix_product_op.cache_clear()


def test_the_operation_is_found_by_its_name(fresh_layout: Callable[[], int]) -> None:
    op_name = tensor_library().ggml_op_name
    op_name.restype = ctypes.c_char_p
    assert op_name(fresh_layout()) == b"MUL_MAT"


def test_only_matrices_of_floats_are_read_in_place() -> None:
    values = np.arange(6, dtype=np.float32)

    def tensor(kind: int, row_bytes: int) -> ggml_tensor.GgmlTensor:
        made = ggml_tensor.GgmlTensor(type=kind, data=values.ctypes.data)
        made.ne[:] = (3, 2, 1, 1)
        made.nb[:] = (4, row_bytes, 24, 24)
        return made

    good = tensor(0, 12)
    assert ggml_tensor.rows_at(ctypes.addressof(good)).tolist() == [[0, 1, 2], [3, 4, 5]]
    for bad in (tensor(1, 12), tensor(0, 16)):
        with pytest.raises(EngineError, match="is not a float32 matrix"):
            ggml_tensor.rows_at(ctypes.addressof(bad))
