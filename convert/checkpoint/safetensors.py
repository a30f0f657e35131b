"""Reads and writes safetensors files. The header is read strictly, and rows of tensors come from mapped memory.

An accepted file is complete: its tensors lie inside it, without gaps or overlap. Knows nothing of models.
Source of the format: https://github.com/huggingface/safetensors/blob/v0.8.0/README.md#format
"""

from __future__ import annotations

import json
import math
import reprlib
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Rows

MAX_HEADER_BYTES = 4 << 20
"""Enough for some 35,000 tensors. Hostile JSON of this size takes up to 120 MiB as Python objects."""

MAX_DIMENSIONS = 16

# Source: safetensors/src/tensor.rs, enum Dtype, v0.8.0.
_BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
_STORED_AS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_METADATA = "__metadata__"
_DAMAGED_HINT = "fetch or save the file again"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file. Nothing is read before `read` is called.

    Attributes:
        shape: as in torch.
        dtype: the name in the format: "F32", "F16", "BF16", or a type that `read` refuses.
        data: its bytes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: Path
    data: NDArray[np.uint8] = field(repr=False)

    def read(self, rows: Rows) -> NDArray[np.float32]:
        """Return rows as a new float32 array of shape (n, *shape[1:]).

        Raises:
            ModelInvalidError: the tensor is a scalar, or its type is not one of weights.
        """
        if self.dtype not in _STORED_AS or not self.shape:
            message = f"{self.path}: {quoted(self.name)} is {self.dtype} of shape {self.shape}, not weights"
            raise ModelInvalidError(message, hint="save the model with weights of type F32, F16 or BF16")
        stored = self.data.view(_STORED_AS[self.dtype]).reshape(self.shape)[rows]
        if self.dtype != "BF16":
            return np.array(stored, dtype=np.float32)
        values: NDArray[np.float32] = np.left_shift(stored, 16, dtype="<u4").view("<f4")
        return values

    def read_f16(self, rows: Rows) -> NDArray[np.float16]:
        """Return rows of an F16 tensor as stored. For a slice the result is a read-only view of the file."""
        stored: NDArray[np.float16] = self.data.view("<f2").reshape(self.shape)[rows]
        return stored

    def read_i8(self, rows: Rows) -> NDArray[np.int8]:
        """Return rows of an I8 tensor as stored. For a slice the result is a read-only view of the file."""
        stored: NDArray[np.int8] = self.data.view(np.int8).reshape(self.shape)[rows]
        return stored

    def read_all(self) -> NDArray[np.float32]:
        """Return the whole tensor; see `read`."""
        return self.read(slice(None))


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to write.

    Attributes:
        dtype: the name in the format, such as "F16".
        chunks: its data in order; all of them together have the bytes of `dtype` and `shape`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Iterable[NDArray[Any]] = field(repr=False)


def write_safetensors(file: BinaryIO, tensors: Sequence[NewTensor], metadata: Mapping[str, str]) -> None:
    """Write a file with these tensors, one chunk of one tensor after the other."""
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    position = 0
    for tensor in tensors:
        end = position + math.prod(tensor.shape) * _BITS[tensor.dtype] // 8
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format requires the data to be aligned
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors:
        file.writelines(chunk.data for chunk in tensor.chunks)


def read_safetensors(path: Path) -> Mapping[str, StoredTensor]:
    """Return the tensors of a file by name, in the order of their data; see `read_with_metadata`."""
    return read_with_metadata(path)[0]


def read_with_metadata(path: Path) -> tuple[Mapping[str, StoredTensor], Mapping[str, str]]:
    """Return the tensors of a file by name, in the order of their data, and its metadata. The file stays mapped.

    Raises:
        ModelInvalidError: the file is not a safetensors file or damaged; the message says what was found and where.
    """
    path = Path(path)
    try:
        status = path.stat()
        # Opening a pipe would block.
        if not stat.S_ISREG(status.st_mode):
            raise ModelInvalidError(f"{path} is not a regular file", hint="give a .safetensors file")
        with path.open("rb") as file:
            header_bytes = _read_header_size(path, file.read(8), status.st_size)
            header, metadata = _parse_header(path, file.read(header_bytes))
        start = 8 + header_bytes
        entries = _parse_entries(path, header, status.st_size - start)
        mapped = np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as e:
        message = f"{path} cannot be read: {e.strerror}"
        raise ModelInvalidError(message, hint="check the file's name and permissions") from e
    tensors = {
        name: StoredTensor(name, shape, dtype, path, mapped[start + begin : start + end])
        for name, dtype, shape, begin, end in entries
    }
    return tensors, metadata


def _read_header_size(path: Path, word: bytes, file_bytes: int) -> int:
    if len(word) < 8:
        raise _damaged(path, f"it has {len(word)} bytes, too few for a safetensors file")
    size = int.from_bytes(word, "little")
    if size > file_bytes - 8:
        raise _damaged(path, f"its header claims {size:,} bytes, and the file has {file_bytes:,}")
    if size > MAX_HEADER_BYTES:
        raise _damaged(path, f"its header claims {size:,} bytes, more than {MAX_HEADER_BYTES:,}")
    return size


def _parse_header(path: Path, data: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the entries of the tensors, and the metadata."""
    try:
        text = data.decode("utf-8")
        header = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_int=_parse_size,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except RecursionError:
        raise _damaged(path, "its header is nested too deeply") from None
    except ValueError as e:  # not UTF-8, not JSON, or refused by a hook
        raise _damaged(path, f"its header is not the JSON of a safetensors file ({e})") from e
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, f"{_METADATA} in its header is not a table of strings")
    return header, metadata


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key occurs twice")
    "".join(table).encode()  # raises for half a surrogate pair
    return table


def _parse_size(digits: str) -> int:
    if not digits.isdecimal() or len(digits) > 20:
        raise ValueError(f"{reprlib.repr(digits)} is not a size")
    return int(digits)


def _refuse_number(text: str) -> None:
    raise ValueError(f"{reprlib.repr(text)} is not a size")


def _parse_entries(
    path: Path, header: dict[str, Any], data_bytes: int
) -> list[tuple[str, str, tuple[int, ...], int, int]]:
    """Return (name, dtype, shape, begin, end) of all tensors, checked and sorted by offset."""
    entries = [_parse_entry(path, name, info) for name, info in header.items()]
    entries.sort(key=lambda entry: entry[3:])
    position = 0
    for name, _, _, begin, end in entries:
        if begin != position:
            raise _damaged(path, f"the data of {quoted(name)} starts at {begin:,}, not at {position:,}")
        position = end
    if position != data_bytes:
        raise _damaged(path, f"its tensors take {position:,} bytes, and {data_bytes:,} follow the header")
    return entries


def _parse_entry(path: Path, name: str, info: object) -> tuple[str, str, tuple[int, ...], int, int]:
    shown = quoted(name)
    if not isinstance(info, dict) or info.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"the entry of {shown} is not dtype, shape and data_offsets")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise _damaged(path, f"{shown} is of the unknown type {reprlib.repr(dtype)}")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS or math.prod(max(n, 1) for n in shape) >= 1 << 59:
        raise _damaged(path, f"{shown} has the impossible shape {reprlib.repr(shape)}")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _damaged(path, f"{shown} has the impossible data_offsets {reprlib.repr(offsets)}")
    begin, end = offsets
    n_bits = math.prod(shape) * _BITS[dtype]
    if n_bits != 8 * (end - begin):
        raise _damaged(path, f"{shown} has {end - begin:,} bytes, not the {n_bits / 8:,g} of {dtype} {tuple(shape)}")
    return name, dtype, tuple(shape), begin, end


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int for n in value)  # a bool is not a size


def quoted(name: str) -> str:
    """Return a tensor's name for a message: in quotes, on one line, at most 160 characters."""
    text = ascii(name)
    return text if len(text) <= 160 else f"{text[:157]}..."


def _damaged(path: Path, finding: str) -> ModelInvalidError:
    return ModelInvalidError(f"{path} is damaged: {finding}", hint=_DAMAGED_HINT)
