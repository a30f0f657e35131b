"""A checkpoint as a GGUF of half floats: metadata, tokenizer and tensors, streamed through a few dozen MiB.

Matrices become F16, vectors F32, as llama.cpp's own conversion has it. The bytes depend on nothing but the arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import gguf
import numpy as np

from genrec_edge.convert.checkpoint.config_gguf import ROPE_FREQS, gguf_fields
from genrec_edge.convert.checkpoint.tensor_names import gguf_name, row_order
from genrec_edge.convert.tokenizer.gguf import gguf_fields as tokenizer_fields
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from io import BufferedWriter
    from typing import BinaryIO

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.config import ModelConfig
    from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor

MetadataValue = str | int | float | bool | list[str]
"""A value of the metadata: integers are written as uint32, real numbers as float32."""

F16_FILE_TYPE = 1
_INFINITE = 0x7C00  # the exponent of a half float that is infinite or no number


def write_gguf(
    checkpoint: Checkpoint,
    file: BinaryIO,
    metadata: Mapping[str, MetadataValue],
    *,
    on_weights: Callable[[int], object] = lambda _n: None,
) -> None:
    """Write a GGUF to an open, empty file; `on_weights` is told how many weights each chunk had.

    Raises:
        ModelInvalidError: a weight is infinite, no number, or too large for a half float.
    """
    config = checkpoint.config
    writer = gguf.GGUFWriter(None, config.architecture)
    fields = {"general.type": "model", **metadata, **gguf_fields(config), "general.file_type": F16_FILE_TYPE}
    add_fields(writer, fields)
    for field in tokenizer_fields(checkpoint.tokenizer):
        sub_type = None if field.item_type is None else gguf.GGUFValueType(field.item_type)
        writer.add_key_value(field.key, field.value, gguf.GGUFValueType(field.type), sub_type)
    divisors = _divisors(config)
    if divisors is not None:
        writer.add_tensor_info(ROPE_FREQS, divisors.shape, divisors.dtype, divisors.nbytes)
    for tensor in checkpoint.tensors.values():
        dtype = np.dtype(np.float16 if len(tensor.shape) == 2 else np.float32)
        writer.add_tensor_info(gguf_name(tensor.name), tensor.shape, dtype, tensor.n_elements * dtype.itemsize)
    write_header(writer, file)
    if divisors is not None:
        file.write(divisors.tobytes())
        write_padding(file)
    for tensor in checkpoint.tensors.values():
        for chunk in _chunks(tensor, config):
            file.write(chunk.data)
            on_weights(chunk.size)
        write_padding(file)


def add_fields(writer: gguf.GGUFWriter, fields: Mapping[str, MetadataValue]) -> None:
    """Add metadata."""
    for key, value in fields.items():
        if isinstance(value, bool):  # before int, which it is
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_string(key, value)


def write_header(writer: gguf.GGUFWriter, file: BinaryIO) -> None:
    """Write all that stands before the tensor data, which comes next in the order it was announced, each one padded.

    The package would open and close a file by its name; here somebody else does, who makes it appear whole.
    """
    writer.fout = [cast("BufferedWriter", file)]
    writer.state = gguf.gguf_writer.WriterState.EMPTY
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    write_padding(file)


def write_padding(file: BinaryIO) -> None:
    """Fill up to where the next tensor may start."""
    file.write(bytes(-file.tell() % gguf.GGUF_DEFAULT_ALIGNMENT))


def _divisors(config: ModelConfig) -> NDArray[np.float32] | None:
    scaling = config.rope_scaling
    if scaling is None or scaling.kind != "llama3":
        return None
    return np.array(scaling.divisors(config.rope_base, config.head_size), np.float32)


def _chunks(tensor: Tensor, config: ModelConfig) -> Iterator[NDArray[np.generic]]:
    """Yield a tensor as it lies in the file, some rows at a time."""
    order = row_order(config, tensor.name)
    for rows in tensor.row_chunks():
        taken = rows if order is None else order[rows]
        if len(tensor.shape) == 1:
            vector = tensor.read(taken)
            if not np.isfinite(vector).all():
                raise _not_finite(tensor)
            yield vector
            continue
        if tensor.read_f16 is not None:
            halves = np.ascontiguousarray(tensor.read_f16(taken))
        else:
            with np.errstate(over="ignore"):
                halves = tensor.read(taken).astype(np.float16)
        if ((halves.view(np.uint16) & _INFINITE) == _INFINITE).any():
            raise _not_finite(tensor)
        yield halves


def _not_finite(tensor: Tensor) -> ModelInvalidError:
    message = f"{tensor.name} ({tensor.dtype}) holds weights that are no numbers or beyond the range of half floats"
    return ModelInvalidError(message, hint="the checkpoint is damaged, or the adapter diverged while it was trained")
