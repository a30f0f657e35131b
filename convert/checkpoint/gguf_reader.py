"""Reads a GGUF as a checkpoint: tensors dequantized on demand, with the names and the row order of transformers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import gguf
import numpy as np

from genrec_edge.convert.checkpoint.config_gguf import ROPE_FREQS, read_config
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes, gguf_name, row_order
from genrec_edge.convert.checkpoint.types import Checkpoint, Rows, Tensor
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.errors import ModelInvalidError, several
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.validate import check_runnable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.gguf.types import TensorInfo

_MAX_SHOWN = 8
_VECTOR_TYPES = frozenset({"F32", "F16", "BF16"})


def read_gguf(path: Path) -> Checkpoint:
    """Open a GGUF of a supported family; the weights stay on the disk. Read-only.

    Raises:
        ModelInvalidError: the file is damaged or not supported, or its tensors do not match its metadata; the first
            mismatches are named and the others counted.
    """
    header = read_header(path)
    check_runnable(header, to_convert=True)
    config = read_config(header)
    found = {tensor.name: tensor for tensor in header.tensors if tensor.name != ROPE_FREQS}
    shapes = {gguf_name(name): shape for name, shape in expected_shapes(config).items()}
    problems = [f"{name} is missing" for name in shapes if name not in found]
    for name, tensor in found.items():
        if name not in shapes:
            problems.append(f"{name} is unknown")
        elif tensor.shape[::-1] != shapes[name]:
            problems.append(f"{name} has the shape {tensor.shape[::-1]}, not {shapes[name]}")
        elif not _can_dequantize(tensor.type):
            problems.append(f"{name} is of type {tensor.type}, which cannot be dequantized")
        elif len(tensor.shape) == 1 and tensor.type not in _VECTOR_TYPES:
            problems.append(f"{name} is of type {tensor.type}, which only matrices can have")
    if problems:
        message = f"the tensors of {path} do not match its metadata: {several(problems, most=_MAX_SHOWN)}"
        raise ModelInvalidError(message, hint="fetch it again, or convert from the Hugging Face checkpoint")
    tensors = {}
    for name, shape in expected_shapes(config).items():
        info = found[gguf_name(name)]
        order = row_order(config, name)
        stored = np.memmap(path, np.uint8, "r", info.offset, (shape[0], info.n_bytes // shape[0]))
        read_f16 = _f16_reader(stored, order) if info.type == "F16" and len(shape) == 2 else None
        tensors[name] = Tensor(name, shape, info.type, _reader(stored, info, order), read_f16)
    return Checkpoint(path, config, read_gguf_tokenizer(header), tensors, (path,))


@functools.cache
def _can_dequantize(type_name: str) -> bool:
    try:
        kind = gguf.GGMLQuantizationType[type_name]
        gguf.quants.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except (KeyError, NotImplementedError):  # a newer type than the package knows, or one for activations
        return False
    return True


def _reader(
    stored: NDArray[np.uint8], info: TensorInfo, order: NDArray[np.intp] | None
) -> Callable[[Rows], NDArray[np.float32]]:
    kind = gguf.GGMLQuantizationType[info.type]
    gguf_rows = None if order is None else np.argsort(order)  # the file's row of each row of transformers

    def read(rows: Rows) -> NDArray[np.float32]:
        data = np.ascontiguousarray(stored[rows if gguf_rows is None else gguf_rows[rows]])
        with np.errstate(all="ignore"):  # non-finite weights are refused when they are written
            values = gguf.quants.dequantize(data, kind).astype(np.float32)
        return values.reshape(len(data), *info.shape[:-1][::-1])

    return read


def _f16_reader(stored: NDArray[np.uint8], order: NDArray[np.intp] | None) -> Callable[[Rows], NDArray[np.float16]]:
    gguf_rows = None if order is None else np.argsort(order)

    def read_f16(rows: Rows) -> NDArray[np.float16]:
        return stored[rows if gguf_rows is None else gguf_rows[rows]].view(np.float16)

    return read_f16
