"""Parses the header of a GGUF file: metadata and tensor table. `header.py` is its public face.

llama.cpp ends the whole process on some malformed files, and other readers believe every length they meet. Here
everything is checked, and the error names the file, what was found and the byte.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from genrec_edge.gguf.byte_reader import MAX_TEXT_BYTES, ByteReader
from genrec_edge.gguf.types import (
    ARRAY,
    GGML_TYPES,
    SCALARS,
    SHORT_ARRAY,
    STRING,
    ArrayInfo,
    GgufHeader,
    Scalar,
    TensorInfo,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_KEYS = 8192
MAX_TENSORS = 65536
MAX_KEY_BYTES = 255
MAX_NAME_BYTES = 63
"""What llama.cpp keeps of a tensor's name (GGML_MAX_NAME, less its end)."""

_MIN_KEY_BYTES = 8 + 1 + 4 + 1  # length, one character, type, one byte of value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # length, one character, rank, one dimension, type, offset
_DEFAULT_ALIGNMENT = 32


def parse_header(path: Path, file: BinaryIO, size: int) -> GgufHeader:
    """Read everything up to the tensor data of a file that is open at its beginning and has `size` bytes.

    Raises:
        ModelInvalidError: it is not a GGUF file, damaged or cut short.
    """
    reader = ByteReader(path, file, size)
    version = _version(reader)
    n_tensors = reader.count("tensors", _MIN_TENSOR_BYTES, MAX_TENSORS)
    n_keys = reader.count("metadata keys", _MIN_KEY_BYTES, MAX_KEYS)
    metadata: dict[str, Scalar | ArrayInfo] = {}
    spans: dict[str, tuple[int, int]] = {}
    for _ in range(n_keys):
        at = reader.pos
        key = reader.text("a metadata key", MAX_KEY_BYTES)
        if key in metadata:
            reader.fail(f"the metadata key {key!r} comes twice", at)
        start = reader.pos
        metadata[key] = _value(reader, key)
        spans[key] = (start, reader.pos)
    alignment = _alignment(reader, metadata)
    tensors, data_offset = _tensors(reader, n_tensors, alignment)
    return GgufHeader(
        path=reader.path,
        version=version,
        metadata=MappingProxyType(metadata),
        spans=MappingProxyType(spans),
        tensors=tensors,
        data_offset=data_offset,
        file_size=reader.size,
    )


def _version(reader: ByteReader) -> int:
    reader.need(min(4, reader.size), "the magic number")
    if (magic := bytes(reader.data[:4])) != b"GGUF":
        reader.fail(f"not a GGUF file: it starts with {magic!r}, not with b'GGUF'", 0)
    reader.pos = 4
    version = reader.u32("the version")
    if version & 0xFFFF == 0 and version:
        reader.fail(f"GGUF version {version >> 24} in big-endian byte order; only little-endian files run here", 4)
    if version not in {2, 3}:
        reader.fail(f"GGUF version {version}; versions 2 and 3 run here", 4)
    return version


def _value(reader: ByteReader, key: str) -> Scalar | ArrayInfo:
    at = reader.pos
    kind = reader.u32(f"the type of {key!r}")
    if kind == STRING:
        return reader.text(f"the value of {key!r}", MAX_TEXT_BYTES, empty=True)
    if kind == ARRAY:
        return _array(reader, key)
    if kind not in SCALARS:
        reader.fail(f"{key!r} has the unknown metadata type {kind}", at)
    layout = SCALARS[kind][1]
    reader.need(layout.size, f"the value of {key!r}")
    value: Scalar = layout.unpack_from(reader.data, reader.pos)[0]
    reader.pos += layout.size
    return value


def _array(reader: ByteReader, key: str) -> ArrayInfo:
    at = reader.pos
    kind = reader.u32(f"the element type of {key!r}")
    if kind == ARRAY:
        reader.fail(f"{key!r} is an array of arrays", at)
    if kind != STRING and kind not in SCALARS:
        reader.fail(f"{key!r} is an array of the unknown metadata type {kind}", at)
    count_at = reader.pos
    count = reader.u64(f"the length of {key!r}")
    element_bytes = 8 if kind == STRING else SCALARS[kind][1].size
    if count * element_bytes > reader.n_left:
        reader.fail(f"{key!r} claims {count:,} elements, and {reader.n_left:,} bytes are left", count_at)
    start = reader.pos
    values: tuple[Scalar, ...] | None = None
    if kind == STRING:
        if count <= SHORT_ARRAY:
            what = f"an element of {key!r}"
            values = tuple(reader.text(what, MAX_TEXT_BYTES, empty=True) for _ in range(count))
        else:
            reader.skip_strings(key, count)
        return ArrayInfo("string", count, start, reader.pos, values)
    name, layout = SCALARS[kind]
    reader.need(count * element_bytes, f"the value of {key!r}")
    if count <= SHORT_ARRAY:
        values = tuple(layout.unpack_from(reader.data, start + i * element_bytes)[0] for i in range(count))
    reader.pos += count * element_bytes
    return ArrayInfo(name, count, start, reader.pos, values)


def _alignment(reader: ByteReader, metadata: Mapping[str, Scalar | ArrayInfo]) -> int:
    value = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    # llama.cpp takes any power of two; below 8 its 64-bit loads would be unaligned.
    if not isinstance(value, int) or value < 8 or value & (value - 1):
        reader.fail(f"general.alignment is {value!r}, not a power of two of at least 8", reader.pos)
    return value


def _tensors(reader: ByteReader, count: int, alignment: int) -> tuple[tuple[TensorInfo, ...], int]:
    """Read the tensor table and place the tensors, which must lie end to end as llama.cpp demands."""
    table = [_tensor(reader) for _ in range(count)]
    data_offset = _aligned(reader.pos, alignment) if count else reader.pos
    tensors: dict[str, TensorInfo] = {}
    end = data_offset
    for at, tensor in table:
        offset = data_offset + tensor.offset
        if tensor.name in tensors:
            reader.fail(f"the tensor {tensor.name!r} comes twice", at)
        if offset != _aligned(end, alignment):
            expected = _aligned(end, alignment)
            reader.fail(
                f"the tensor {tensor.name!r} starts at byte {offset:,}, but the one before it and the"
                f" alignment of {alignment} put it at byte {expected:,}",
                at,
            )
        end = offset + tensor.n_bytes
        if end > reader.size:
            reader.fail(f"the tensor {tensor.name!r} ends at byte {end:,}: the file is cut short", at)
        tensors[tensor.name] = TensorInfo(tensor.name, tensor.shape, tensor.type, offset, tensor.n_bytes)
    return tuple(tensors.values()), data_offset


def _tensor(reader: ByteReader) -> tuple[int, TensorInfo]:
    """Read one entry of the table; its offset counts from the start of the data, as in the file."""
    at = reader.pos
    name = reader.text("a tensor's name", MAX_NAME_BYTES)
    rank = reader.u32(f"the rank of {name!r}")
    if not 1 <= rank <= 4:
        reader.fail(f"the tensor {name!r} has {rank} dimensions, expected 1 to 4", at)
    shape = tuple(reader.u64(f"the shape of {name!r}") for _ in range(rank))
    number = reader.u32(f"the type of {name!r}")
    if number not in GGML_TYPES:
        reader.fail(f"the tensor {name!r} has the unknown type {number}", at)
    kind = GGML_TYPES[number]
    # 256 elements of any type take at least one byte, so more never fit.
    if 0 in shape or math.prod(shape) > reader.size * 256:
        reader.fail(f"the tensor {name!r} has the impossible shape {shape}", at)
    if shape[0] % kind.block_elements:
        reader.fail(
            f"the rows of {name!r} have {shape[0]:,} elements, not whole {kind.name} blocks",
            at,
        )
    n_bytes = math.prod(shape) // kind.block_elements * kind.block_bytes
    return at, TensorInfo(name, shape, kind.name, reader.u64(f"the offset of {name!r}"), n_bytes)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
