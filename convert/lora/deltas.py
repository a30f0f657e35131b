"""Reads and writes weights as 8-bit differences to a base: half the bytes of an adapter that holds whole matrices.

A file has the tensors of a PEFT adapter. A whole matrix and the rows of tokens stand as their difference to the base, a
tensor `NAME.delta` of int8, and a float16 for each 32 of a row, `NAME.delta_scale`, by which these are multiplied. All
other tensors are those of PEFT. docs/formats.md has the rest.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.checkpoint.safetensors import (
    NewTensor,
    StoredTensor,
    quoted,
    read_with_metadata,
    write_safetensors,
)
from genrec_edge.convert.checkpoint.types import Tensor
from genrec_edge.errors import ModelInvalidError, several

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Checkpoint

# Not PEFT's name: PEFT would take such a file for an adapter that lacks these tensors, and load the rest.
DELTAS_NAME = "adapter_deltas.safetensors"

_DELTA, _SCALE = ".delta", ".delta_scale"
_SCHEMA = "genrec-edge/deltas@1"
_SCHEMA_KEY, _BASE_KEY = "schema", "base_sha256"
_BLOCK = 32
_LARGEST = 127
_SHA256 = re.compile("[0-9a-f]{64}")
_MAX_SHOWN = 8
_PACK_HINT = "fetch the adapter again, or pack it again"


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of a matrix to that of the base, or to some rows of it.

    Attributes:
        name: that of the tensor in a PEFT adapter.
    """

    name: str
    _steps: StoredTensor
    _scales: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor in a PEFT adapter."""
        return self._steps.shape

    def added_to(self, base: Tensor, base_rows: NDArray[np.int64] | None = None) -> Tensor:
        """Return the tensor of the PEFT adapter. Nothing is read yet.

        Args:
            base: the tensor of the base.
            base_rows: its rows that these are the differences to; None for all, in order.
        """

        def read(rows: slice | np.ndarray) -> NDArray[np.float32]:
            weights = base.read(rows if base_rows is None else base_rows[rows])
            weights += decode(self._steps.read_i8(rows), self._scales.read_f16(rows))
            return weights

        return Tensor(self.name, self.shape, "F32", read)


def encode(differences: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Return steps (n, m) and their scales (n, ceil(m / 32)); `decode` is off by half a scale at most.

    Scales are infinite or not a number where differences are, or are beyond 8 million.
    """
    n, m = differences.shape
    blocks = np.zeros((n, -(-m // _BLOCK), _BLOCK), np.float32)
    blocks.reshape(n, -1)[:, :m] = differences
    largest = np.abs(blocks).max(axis=2)
    with np.errstate(all="ignore"):
        scales = (largest / _LARGEST).astype(np.float16)
        is_low = scales.astype(np.float32) * _LARGEST < largest  # rounded down: the largest would need a 128th step
        scales[is_low] = np.nextafter(scales[is_low], np.float16(np.inf))
        steps = np.nan_to_num(np.rint(blocks / scales.astype(np.float32)[:, :, np.newaxis]))  # 0 / 0 is no step
    return np.ascontiguousarray(steps.astype(np.int8).reshape(n, -1)[:, :m]), scales


def decode(steps: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the differences of some rows."""
    wide: NDArray[np.float32] = np.repeat(scales.astype(np.float32), _BLOCK, axis=1)[:, : steps.shape[1]]
    return steps * wide


def new_deltas(tensor: Tensor, base: Tensor, base_rows: NDArray[np.int64] | None = None) -> tuple[NewTensor, NewTensor]:
    """Return what is written of a matrix of a PEFT adapter: its steps and their scales.

    `base` and `base_rows` are as in `Difference.added_to`. Reading the chunks raises ModelInvalidError if one
    of the differences is not finite, or too large for a scale.
    """

    def encoded() -> Iterator[tuple[NDArray[np.int8], NDArray[np.float16]]]:
        for rows in tensor.row_chunks():
            difference = tensor.read(rows) - base.read(rows if base_rows is None else base_rows[rows])
            steps, scales = encode(difference)
            if not np.isfinite(scales).all():
                message = f"the difference of {tensor.name} to {base.name} of the base is not finite, or too large"
                raise ModelInvalidError(message, hint="ship the adapter as it is, or give the base it was trained on")
            yield steps, scales

    n, m = tensor.shape
    steps = NewTensor(f"{tensor.name}{_DELTA}", "I8", (n, m), (steps for steps, _ in encoded()))
    scales = NewTensor(f"{tensor.name}{_SCALE}", "F16", (n, -(-m // _BLOCK)), (scales for _, scales in encoded()))
    return steps, scales


def write_deltas(file: BinaryIO, tensors: Sequence[NewTensor], base_sha256: str) -> None:
    """Write tensors of PEFT and of `new_deltas` into a file; `base_sha256` is that of the base."""
    halves_first = sorted(tensors, key=lambda tensor: tensor.dtype == "I8")  # so that they begin at even places
    write_safetensors(file, halves_first, {_SCHEMA_KEY: _SCHEMA, _BASE_KEY: base_sha256})


def read_deltas(path: Path) -> tuple[Mapping[str, StoredTensor | Difference], str]:
    """Return the tensors of a file under PEFT's names, and the sha256 of the base. Read-only; the file stays mapped.

    Raises:
        ModelInvalidError: the file is damaged, or of another version.
    """
    tensors, metadata = read_with_metadata(path)
    base_sha256 = _base_in(path, metadata)
    found: dict[str, StoredTensor | Difference] = {}
    problems = []
    for key, tensor in tensors.items():
        name = key.removesuffix(_SCALE).removesuffix(_DELTA)
        if key == name:
            found[key] = tensor
        elif name in tensors:
            problems.append(f"{quoted(name)} is there as it is and as {quoted(key)}")
        elif key.endswith(_SCALE):
            if f"{name}{_DELTA}" not in tensors:
                problems.append(f"{quoted(key)} has no {quoted(f'{name}{_DELTA}')}")
        elif problem := _problem(tensor, tensors.get(f"{name}{_SCALE}")):
            problems.append(f"{quoted(key)} {problem}")
        else:
            found[name] = Difference(name, tensor, tensors[f"{name}{_SCALE}"])
    if problems:
        message = f"{path} is damaged: {several(problems, most=_MAX_SHOWN)}"
        raise ModelInvalidError(message, hint=_PACK_HINT)
    return found, base_sha256


def _base_in(path: Path, metadata: Mapping[str, str]) -> str:
    """Return the sha256 of the base from the metadata of a file of this version."""
    if (schema := metadata.get(_SCHEMA_KEY, "")) != _SCHEMA:
        message = f"{path} has the format {quoted(schema)}, and this version of the program reads {_SCHEMA}"
        raise ModelInvalidError(message, hint="use the version of the program that wrote it, or pack the adapter again")
    base_sha256 = metadata.get(_BASE_KEY, "")
    if metadata.keys() != {_SCHEMA_KEY, _BASE_KEY} or not _SHA256.fullmatch(base_sha256):
        message = f"{path} is damaged: its metadata is not {_SCHEMA_KEY} and {_BASE_KEY}, a sha256"
        raise ModelInvalidError(message, hint=_PACK_HINT)
    return base_sha256


def _problem(steps: StoredTensor, scales: StoredTensor | None) -> str:
    """Return what is wrong with a difference, or ""."""
    if steps.dtype != "I8" or len(steps.shape) != 2 or 0 in steps.shape:
        return f"is {steps.dtype} of shape {steps.shape}, not a matrix of I8"
    if scales is None:
        return f"has no {_SCALE}"
    n, m = steps.shape
    expected = (n, -(-m // _BLOCK))
    if scales.dtype != "F16" or scales.shape != expected:
        return f"has a {_SCALE} that is {scales.dtype} of shape {scales.shape}, not F16 of shape {expected}"
    values = scales.read_f16(slice(None))
    if not (np.isfinite(values) & (values >= 0)).all():
        return f"has a {_SCALE} with values that are negative or not finite"
    return ""


def sha256_of_base(base: Checkpoint) -> str:
    """Return the sha256 of all weights of a base: of each tensor, by name, a line NAME ROWSxCOLUMNS and its float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(base.tensors.items()):
        digest.update(f"{name} {'x'.join(map(str, tensor.shape))}\n".encode())
        for rows in tensor.row_chunks():
            digest.update(np.ascontiguousarray(tensor.read(rows), "<f4").data)
    return digest.hexdigest()
