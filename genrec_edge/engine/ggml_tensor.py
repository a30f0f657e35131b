"""Reading the tensors of a running llama.cpp graph in place: what enters its matrix products.

llama.cpp hands out addresses of `struct ggml_tensor` and no functions to ask for a tensor's sources, so the layout of
the struct is written down here and checked on a tensor of known contents before anything else is read with it.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.engine.bindings import tensor_library
from genrec_edge.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_F32 = 0  # enum ggml_type
_SHAPES = ((6, 5), (6, 7))
_NAMES = (b"left", b"right", b"product")
_UNKNOWN_LAYOUT_HINT = "install a version of llama-cpp-python that this version of genrec-edge supports"


class GgmlTensor(ctypes.Structure):
    """`struct ggml_tensor` up to its name. `ne` is the shape, row length first; `nb` the strides in bytes.

    Source: ggml/include/ggml.h (llama.cpp 0c1e57098).
    """

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    )


class _InitParams(ctypes.Structure):
    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


@functools.cache
def matrix_product_op() -> int:
    """Return the number of the operation "matrix product", after checking that tensors have the known layout.

    Raises:
        EngineError: they have another one.
    """
    try:
        return _checked_op(tensor_library())
    except (AttributeError, ValueError) as e:
        raise EngineError(
            f"the tensors of the installed llama.cpp have an unknown layout ({e})", hint=_UNKNOWN_LAYOUT_HINT
        ) from e


def tensor_at(address: int) -> GgmlTensor:
    """Return the tensor at an address that llama.cpp gave, in place: valid as long as llama.cpp keeps it."""
    return GgmlTensor.from_address(address)


def rows_at(address: int) -> NDArray[np.float32]:
    """Return a float32 tensor in memory as (n_rows, row length), in place: valid until the graph goes on.

    Raises:
        EngineError: it is of another type, or has gaps between its rows.
    """
    tensor = tensor_at(address)
    shape = tuple(tensor.ne)
    contiguous = tuple(4 * int(np.prod(shape[:i])) for i in range(4))
    if tensor.type != _F32 or tuple(tensor.nb) != contiguous or not tensor.data:
        raise EngineError(
            f"the tensor {tensor.name.decode(errors='replace')!r} is not a float32 matrix without gaps",
            hint=_UNKNOWN_LAYOUT_HINT,
        )
    pointer = ctypes.cast(tensor.data, ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(pointer, (int(np.prod(shape[1:])), shape[0]))


def _checked_op(lib: ctypes.CDLL) -> int:
    """Have ggml describe a matrix product and check that the struct shows the same.

    Raises:
        AttributeError: a function is missing.
        ValueError: a field is not where it should be; the message names it.
    """
    lib.ggml_tensor_overhead.restype = ctypes.c_size_t
    for function in (lib.ggml_init, lib.ggml_new_tensor_2d, lib.ggml_mul_mat):
        function.restype = ctypes.c_void_p
    lib.ggml_init.argtypes = [_InitParams]
    lib.ggml_new_tensor_2d.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    lib.ggml_mul_mat.argtypes = [ctypes.c_void_p] * 3
    lib.ggml_set_name.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.ggml_set_name.restype = ctypes.c_void_p
    lib.ggml_free.argtypes = [ctypes.c_void_p]
    lib.ggml_free.restype = None
    overhead = lib.ggml_tensor_overhead()
    if overhead < ctypes.sizeof(GgmlTensor):
        raise ValueError("its size")
    context = lib.ggml_init(_InitParams(4 * overhead, None, True))  # noqa: FBT003
    try:
        left, right = (lib.ggml_new_tensor_2d(context, _F32, *shape) for shape in _SHAPES)
        product = lib.ggml_mul_mat(context, left, right)
        for address, name in zip((left, right, product), _NAMES, strict=True):
            lib.ggml_set_name(address, name)
        return _compare(left, right, product)
    finally:
        lib.ggml_free(context)


def _compare(left: int, right: int, product: int) -> int:
    tensors = [tensor_at(address) for address in (left, right, product)]
    shapes = (*_SHAPES, (_SHAPES[0][1], _SHAPES[1][1]))
    for tensor, name, (columns, rows) in zip(tensors, _NAMES, shapes, strict=True):
        found = {
            "name": tensor.name == name,
            "type": tensor.type == _F32,
            "ne": tuple(tensor.ne) == (columns, rows, 1, 1),
            "nb": tuple(tensor.nb) == (4, 4 * columns, 4 * columns * rows, 4 * columns * rows),
            "data": tensor.data is None,
        }
        if wrong := [field for field, is_right in found.items() if not is_right]:
            raise ValueError(f"fields {', '.join(wrong)}")
    if list(tensors[2].src) != [left, right, *[None] * 8] or tensors[0].op != 0 or tensors[2].op <= 0:
        raise ValueError("fields src, op")
    return int(tensors[2].op)
