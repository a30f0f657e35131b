"""Writes a checkpoint as a GGUF: metadata, tokenizer and tensors, streamed with a few dozen MiB of memory.

Matrices become F16 and vectors F32, as in llama.cpp's own conversion. The same arguments give the same bytes.
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
"""A metadata value: int is written as uint32, float as float32."""

F16_FILE_TYPE = 1
_F16_EXPONENT = 0x7C00  # all ones in a float16 that is infinite or NaN


def write_gguf(
    checkpoint: Checkpoint,
    file: BinaryIO,
    metadata: Mapping[str, MetadataValue],
    *,
    on_weights: Callable[[int], object] = lambda _n: None,
) -> None:
    """Write a GGUF to an open, empty file; `on_weights` is called with the number of weights of each written chunk.

    Raises:
        ModelInvalidError: a weight is NaN, infinite, or too large for float16.
    """
    config = checkpoint.config
    writer = gguf.GGUFWriter(None, config.architecture)
    fields = {"general.type": "model", **metadata, **gguf_fields(config), "general.file_type": F16_FILE_TYPE}
    add_fields(writer, fields)
    for field in tokenizer_fields(checkpoint.tokenizer):
        sub_type = None if field.item_type is None else gguf.GGUFValueType(field.item_type)
        writer.add_key_value(field.key, field.value, gguf.GGUFValueType(field.type), sub_type)
    divisors = _rope_divisors(config)
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
        for chunk in _encoded_chunks(tensor, config):
            file.write(chunk.data)
            on_weights(chunk.size)
        write_padding(file)


def add_fields(writer: gguf.GGUFWriter, fields: Mapping[str, MetadataValue]) -> None:
    """Add metadata to a writer."""
    for key, value in fields.items():
        if isinstance(value, bool):  # before int: bool is a subclass of it
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
    """Write the metadata and the tensor infos. The tensors' data follows, in the same order, each with padding.

    The `gguf` package would open and close the file itself. Here the caller does, to replace the target atomically.
    """
    writer.fout = [cast("BufferedWriter", file)]
    writer.state = gguf.gguf_writer.WriterState.EMPTY
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    write_padding(file)


def write_padding(file: BinaryIO) -> None:
    """Write zeros up to the offset at which the next tensor may start."""
    file.write(bytes(-file.tell() % gguf.GGUF_DEFAULT_ALIGNMENT))


def _rope_divisors(config: ModelConfig) -> NDArray[np.float32] | None:
    scaling = config.rope_scaling
    if scaling is None or scaling.kind != "llama3":
        return None
    return np.array(scaling.divisors(config.rope_base, config.head_size), np.float32)


def _encoded_chunks(tensor: Tensor, config: ModelConfig) -> Iterator[NDArray[np.generic]]:
    """Yield a tensor as it is stored, a chunk of rows at a time."""
    order = row_order(config, tensor.name)
    for rows in tensor.row_chunks():
        hf_rows = rows if order is None else order[rows]
        if len(tensor.shape) == 1:
            vector = tensor.read(hf_rows)
            if not np.isfinite(vector).all():
                raise _not_finite(tensor)
            yield vector
            continue
        if tensor.read_f16 is not None:
            matrix = np.ascontiguousarray(tensor.read_f16(hf_rows))
        else:
            with np.errstate(over="ignore"):
                matrix = tensor.read(hf_rows).astype(np.float16)
        if ((matrix.view(np.uint16) & _F16_EXPONENT) == _F16_EXPONENT).any():
            raise _not_finite(tensor)
        yield matrix


def _not_finite(tensor: Tensor) -> ModelInvalidError:
    message = f"{tensor.name} ({tensor.dtype}) has weights that are not finite or exceed the range of float16"
    return ModelInvalidError(message, hint="the checkpoint is damaged, or the training of the adapter diverged")
