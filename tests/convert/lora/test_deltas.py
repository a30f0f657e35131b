"""8-bit differences: their error, and what a file of them is read as, against numpy."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.types import Tensor
from genrec_edge.convert.lora.deltas import decode, encode, new_deltas, read_deltas, sha256_of_base, write_deltas
from genrec_edge.errors import ModelInvalidError
from tests.support.gguf_files import write_tiny_llama
from tests.support.packed_adapters import by_hand

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Rows

SHA256 = "0" * 64


def tensor(name: str, values: NDArray[np.float32]) -> Tensor:
    def read(rows: Rows) -> NDArray[np.float32]:
        return np.array(values[rows])

    return Tensor(name, values.shape, "F32", read)


def random(shape: tuple[int, int], size: float, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, size, shape).astype(np.float32)


@pytest.mark.parametrize("width", [1, 5, 31, 32, 33, 64, 112, 576])
@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-3, 0.05, 7.0, 1e4])
def test_a_value_is_off_by_half_a_step_of_its_block_at_most(width: int, size: float) -> None:
    differences = random((7, width), size) * np.geomspace(1, 100, width, dtype=np.float32)
    steps, scales = encode(differences)
    assert [steps.dtype.name, scales.dtype.name] == ["int8", "float16"]
    assert (steps.shape, scales.shape) == ((7, width), (7, math.ceil(width / 32)))
    found, halves = by_hand(steps, scales)
    assert (np.abs(found - differences) <= halves * (1 + 1e-5)).all()
    assert np.array_equal(decode(steps, scales), found)


@pytest.mark.parametrize("width", [32, 112])
def test_no_step_is_larger_than_needed(width: int) -> None:
    """The largest of each block takes the last step, or the one before it where the scale was rounded up."""
    steps, _ = encode(random((200, width), 0.02))
    for start in range(0, width, 32):
        largest = np.abs(steps[:, start : start + 32].astype(int)).max(axis=1)
        assert largest.min() >= 126
        assert largest.max() == 127


def test_a_block_of_zeros_stays_zeros_beside_others() -> None:
    differences = random((3, 96), 1.0)
    differences[1, 32:64] = 0
    steps, scales = encode(differences)
    assert scales[1].tolist()[1] == 0
    assert not decode(steps, scales)[1, 32:64].any()
    assert scales[1, [0, 2]].all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e7, -3e38])
def test_differences_that_no_scale_can_hold_are_refused(value: float) -> None:
    wrong = random((4, 40), 1.0)
    wrong[2, 39] = value
    parts = new_deltas(tensor("down", wrong), tensor("base.down", np.zeros((4, 40), np.float32)))
    with pytest.raises(ModelInvalidError, match=r"difference of down to base\.down of the base is not finite, or too"):
        write_deltas(io.BytesIO(), parts, SHA256)


def test_a_file_is_read_as_base_and_differences(tmp_path: Path) -> None:
    """Whole matrices, some rows in another order, and tensors as they are; rows are read alone, too."""
    base, rows_of = random((50, 112), 0.3), np.array([41, 3, 17])
    whole, some = base + random((50, 112), 0.01, 1), base[rows_of] + random((3, 112), 0.01, 2)
    parts = [
        *new_deltas(tensor("whole", whole), tensor("w", base)),
        *new_deltas(tensor("some", some), tensor("w", base), rows_of),
    ]
    path = tmp_path / "adapter_deltas.safetensors"
    with path.open("wb") as file:
        write_deltas(file, parts, SHA256)
    tensors, base_sha256 = read_deltas(path)
    assert base_sha256 == SHA256
    assert list(tensors) == ["whole", "some"]
    found = tensors["whole"].added_to(tensor("w", base))  # type: ignore[union-attr]
    found_rows = tensors["some"].added_to(tensor("w", base), rows_of)  # type: ignore[union-attr]
    for read, expected in ((found, whole), (found_rows, some)):
        assert (read.name, read.shape) == ("whole" if read is found else "some", expected.shape)
        assert 0 < np.abs(read.read_all() - expected).max() < 0.05 / 127
        for rows in (slice(1, 3), slice(2, 2), np.array([2, 0, 2])):
            assert np.array_equal(read.read(rows), read.read_all()[rows])


def test_the_hash_of_a_base_is_that_of_its_names_shapes_and_float32(tmp_path: Path) -> None:
    base = read_gguf(write_tiny_llama(tmp_path / "tiny.gguf"))
    expected = hashlib.sha256()
    for name in sorted(base.tensors):
        values = base.tensors[name].read_all()
        expected.update(f"{name} {'x'.join(str(n) for n in values.shape)}\n".encode() + values.astype("<f4").tobytes())
    assert sha256_of_base(base) == expected.hexdigest()
    backwards = replace(base, tensors=dict(reversed(list(base.tensors.items()))))
    assert sha256_of_base(backwards) == expected.hexdigest()
    name = "model.layers.1.mlp.up_proj.weight"
    values = base.tensors[name].read_all()
    values[3, 7] = np.nextafter(values[3, 7], np.float32(9))
    other = replace(base, tensors={**base.tensors, name: replace(base.tensors[name], read=partial(_rows, values))})
    assert sha256_of_base(other) != expected.hexdigest()


def _rows(values: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
    return values[rows]
