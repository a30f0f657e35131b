"""Walks through the bytes of a GGUF header without trusting one of them. `gguf_header` is its public face.

llama.cpp ends the whole process on some malformed files, and other readers believe every length they meet.
Here each count and length is held against the bytes that are left before anything is allocated or looped
over, so a file costs at most some `MAX_HEADER_BYTES` of memory and about a second.
"""

from __future__ import annotations

import math
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from genrec_edge.errors import ModelInvalidError
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

DAMAGED_HINT = "the file is damaged or not a model for llama.cpp; fetch or convert it again"

MAX_HEADER_BYTES = 32 << 20
"""LLaMA-3 with its 128,256 tokens and 280,147 merges needs 7.8 MB, Gemma 4 with 262,144 tokens 15.8 MB."""
MAX_TEXT_BYTES = 8 << 20
"""All keys and kept strings together; chat templates, the longest, have some 10 kB."""
MAX_KEYS = 8192
MAX_TENSORS = 65536
MAX_KEY_BYTES = 255
MAX_NAME_BYTES = 63
"""What llama.cpp keeps of a tensor's name (GGML_MAX_NAME, less its end)."""

_MIN_KEY_BYTES = 8 + 1 + 4 + 1  # length, one character, type, one byte of value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # length, one character, rank, one dimension, type, offset
_DEFAULT_ALIGNMENT = 32
_CHUNK_BYTES = 1 << 20
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class HeaderParser:
    """Walks once through a header. `data` is the part of the file seen so far, `pos` the next byte."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path = path
        self.file = file
        self.size = size
        self.data = bytearray()
        self.pos = 0
        self.text_bytes = 0

    def header(self) -> GgufHeader:
        """Read everything up to the tensor data."""
        version = self._version()
        n_tensors = self._count("tensors", _MIN_TENSOR_BYTES, MAX_TENSORS)
        n_keys = self._count("metadata keys", _MIN_KEY_BYTES, MAX_KEYS)
        metadata: dict[str, Scalar | ArrayInfo] = {}
        spans: dict[str, tuple[int, int]] = {}
        for _ in range(n_keys):
            at = self.pos
            key = self._text("a metadata key", MAX_KEY_BYTES)
            if key in metadata:
                self.fail(f"the metadata key {key!r} comes twice", at)
            start = self.pos
            metadata[key] = self._value(key)
            spans[key] = (start, self.pos)
        alignment = self._alignment(metadata)
        tensors, data_offset = self._tensors(n_tensors, alignment)
        return GgufHeader(
            path=self.path,
            version=version,
            metadata=MappingProxyType(metadata),
            spans=MappingProxyType(spans),
            tensors=tensors,
            data_offset=data_offset,
            file_size=self.size,
        )

    def fail(self, found: str, at: int) -> NoReturn:
        """Raise for what was found at byte `at`."""
        message = f"{self.path}: {found} (byte {at:,} of {self.size:,})"
        raise ModelInvalidError(message, hint=DAMAGED_HINT)

    def need(self, n_bytes: int, what: str) -> None:
        """Check that `n_bytes` are left in the file, and bring them into `data`."""
        end = self.pos + n_bytes
        if end > self.size:
            left = self.size - self.pos
            self.fail(f"{what} needs {n_bytes:,} bytes and {left:,} are left: damaged or cut short", self.pos)
        if end > MAX_HEADER_BYTES:
            self.fail(f"{what} ends beyond the {MAX_HEADER_BYTES:,} bytes a header may have", self.pos)
        while len(self.data) < end:
            chunk = self.file.read(max(_CHUNK_BYTES, end - len(self.data)))
            if not chunk:
                self.fail(f"the file ended while {what} was read: another program shortens it", len(self.data))
            self.data += chunk

    def _u32(self, what: str) -> int:
        self.need(4, what)
        value: int = _U32.unpack_from(self.data, self.pos)[0]
        self.pos += 4
        return value

    def _u64(self, what: str) -> int:
        self.need(8, what)
        value: int = _U64.unpack_from(self.data, self.pos)[0]
        self.pos += 8
        return value

    def _text(self, what: str, max_bytes: int, *, empty: bool = False) -> str:
        at = self.pos
        length = self._u64(f"the length of {what}")
        if length > max_bytes or (length == 0 and not empty):
            self.fail(f"{what} has {length:,} bytes, where {0 if empty else 1} to {max_bytes:,} are possible", at)
        self.need(length, what)
        self.text_bytes += length
        if self.text_bytes > MAX_TEXT_BYTES:
            self.fail(f"the metadata holds more than {MAX_TEXT_BYTES:,} bytes of text", at)
        try:
            text = self.data[self.pos : self.pos + length].decode()
        except UnicodeDecodeError as e:
            self.fail(f"{what} is not UTF-8", self.pos + e.start)
        self.pos += length
        return text

    def _version(self) -> int:
        self.need(min(4, self.size), "the magic number")
        if (magic := bytes(self.data[:4])) != b"GGUF":
            self.fail(f"not a GGUF file: it starts with {magic!r}, not with b'GGUF'", 0)
        self.pos = 4
        version = self._u32("the version")
        if version & 0xFFFF == 0 and version:
            self.fail(f"GGUF version {version >> 24} in big-endian byte order; only little-endian files run here", 4)
        if version not in {2, 3}:
            self.fail(f"GGUF version {version}; versions 2 and 3 run here", 4)
        return version

    def _count(self, what: str, min_bytes: int, most: int) -> int:
        at = self.pos
        count = self._u64(f"the number of {what}")
        if count > most or count * min_bytes > self.size - self.pos:
            self.fail(f"the file claims {count:,} {what}, more than it can hold", at)
        return count

    def _value(self, key: str) -> Scalar | ArrayInfo:
        at = self.pos
        kind = self._u32(f"the type of {key!r}")
        if kind == STRING:
            return self._text(f"the value of {key!r}", MAX_TEXT_BYTES, empty=True)
        if kind == ARRAY:
            return self._array(key)
        if kind not in SCALARS:
            self.fail(f"{key!r} has the unknown metadata type {kind}", at)
        layout = SCALARS[kind][1]
        self.need(layout.size, f"the value of {key!r}")
        value: Scalar = layout.unpack_from(self.data, self.pos)[0]
        self.pos += layout.size
        return value

    def _array(self, key: str) -> ArrayInfo:
        at = self.pos
        kind = self._u32(f"the element type of {key!r}")
        if kind == ARRAY:
            self.fail(f"{key!r} is an array of arrays", at)
        if kind != STRING and kind not in SCALARS:
            self.fail(f"{key!r} is an array of the unknown metadata type {kind}", at)
        count_at = self.pos
        count = self._u64(f"the length of {key!r}")
        element_bytes = 8 if kind == STRING else SCALARS[kind][1].size
        if count * element_bytes > self.size - self.pos:
            left = self.size - self.pos
            self.fail(f"{key!r} claims {count:,} elements, and {left:,} bytes are left", count_at)
        start = self.pos
        values: tuple[Scalar, ...] | None = None
        if kind == STRING:
            if count <= SHORT_ARRAY:
                what = f"an element of {key!r}"
                values = tuple(self._text(what, MAX_TEXT_BYTES, empty=True) for _ in range(count))
            else:
                self._skip_strings(key, count)
            return ArrayInfo("string", count, start, self.pos, values)
        name, layout = SCALARS[kind]
        self.need(count * element_bytes, f"the value of {key!r}")
        if count <= SHORT_ARRAY:
            values = tuple(layout.unpack_from(self.data, start + i * element_bytes)[0] for i in range(count))
        self.pos += count * element_bytes
        return ArrayInfo(name, count, start, self.pos, values)

    def _skip_strings(self, key: str, count: int) -> None:
        """Step over `count` strings. The one hot loop: LLaMA-3 has 408,403 of them."""
        what = f"an element of {key!r}"
        data, length_at, pos, seen = self.data, _U64.unpack_from, self.pos, len(self.data)
        for _ in range(count):
            if pos + 8 > seen:
                self.pos = pos
                self.need(8, what)
                seen = len(data)
            length = length_at(data, pos)[0]
            pos += 8
            if pos + length > seen:
                self.pos = pos
                self.need(length, what)
                seen = len(data)
            pos += length
        self.pos = pos

    def _alignment(self, metadata: Mapping[str, Scalar | ArrayInfo]) -> int:
        value = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        # llama.cpp takes any power of two; below 8 its 64-bit loads would be unaligned.
        if not isinstance(value, int) or value < 8 or value & (value - 1):
            self.fail(f"general.alignment is {value!r}, not a power of two of at least 8", self.pos)
        return value

    def _tensors(self, count: int, alignment: int) -> tuple[tuple[TensorInfo, ...], int]:
        """Read the tensor table and place the tensors, which must lie end to end as llama.cpp demands."""
        table = [self._tensor() for _ in range(count)]
        data_offset = _aligned(self.pos, alignment) if count else self.pos
        tensors: dict[str, TensorInfo] = {}
        end = data_offset
        for at, tensor in table:
            offset = data_offset + tensor.offset
            if tensor.name in tensors:
                self.fail(f"the tensor {tensor.name!r} comes twice", at)
            if offset != _aligned(end, alignment):
                expected = _aligned(end, alignment)
                self.fail(
                    f"the tensor {tensor.name!r} starts at byte {offset:,}, but the one before it and the"
                    f" alignment of {alignment} put it at byte {expected:,}",
                    at,
                )
            end = offset + tensor.n_bytes
            if end > self.size:
                self.fail(f"the tensor {tensor.name!r} ends at byte {end:,}: the file is cut short", at)
            tensors[tensor.name] = TensorInfo(tensor.name, tensor.shape, tensor.type, offset, tensor.n_bytes)
        return tuple(tensors.values()), data_offset

    def _tensor(self) -> tuple[int, TensorInfo]:
        """Read one entry of the table; its offset counts from the start of the data, as in the file."""
        at = self.pos
        name = self._text("a tensor's name", MAX_NAME_BYTES)
        rank = self._u32(f"the rank of {name!r}")
        if not 1 <= rank <= 4:
            self.fail(f"the tensor {name!r} has {rank} dimensions, where 1 to 4 are possible", at)
        shape = tuple(self._u64(f"the shape of {name!r}") for _ in range(rank))
        number = self._u32(f"the type of {name!r}")
        if number not in GGML_TYPES:
            self.fail(f"the tensor {name!r} has the unknown type {number}", at)
        kind = GGML_TYPES[number]
        # 256 elements of any type take at least one byte, so more never fit.
        if 0 in shape or math.prod(shape) > self.size * 256:
            self.fail(f"the tensor {name!r} has the impossible shape {shape}", at)
        if shape[0] % kind.block_elements:
            self.fail(f"the rows of {name!r} have {shape[0]:,} elements: no whole {kind.name} blocks", at)
        n_bytes = math.prod(shape) // kind.block_elements * kind.block_bytes
        return at, TensorInfo(name, shape, kind.name, self._u64(f"the offset of {name!r}"), n_bytes)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
