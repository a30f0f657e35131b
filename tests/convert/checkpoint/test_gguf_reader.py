"""Weights read from a GGUF: every type against the gguf package, rows against the whole tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.tensor_names import gguf_name
from genrec_edge.errors import ModelInvalidError
from tests.support.gguf_blocks import TYPES, reference, write_model

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_dequantized_as_the_package_does_whichever_rows_are_asked_for(kind: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", kind)
    expected = reference(path)
    checkpoint = read_gguf(path)
    assert {gguf_name(name) for name in checkpoint.tensors} == expected.keys()
    rng = np.random.default_rng(0)
    for name, tensor in checkpoint.tensors.items():
        whole = tensor.read_all()
        assert whole.dtype == np.float32
        assert np.isfinite(whole).all()
        assert np.array_equal(whole, expected[gguf_name(name)]), name
        assert tensor.dtype == ("F32" if len(tensor.shape) == 1 else kind)
        picks = rng.integers(0, tensor.shape[0], 7)
        for rows in (slice(3, 8), slice(0, 1), slice(5, 10_000), picks, picks[:1]):
            assert np.array_equal(tensor.read(rows), whole[rows])
            if tensor.read_f16 is not None:
                assert tensor.read_f16(rows).dtype == np.float16
                assert np.array_equal(tensor.read_f16(rows), whole[rows].astype(np.float16))
        assert (tensor.read_f16 is not None) == (kind == "F16" and len(tensor.shape) == 2)
        whole[:] = 0  # it is the caller's own
        assert np.array_equal(tensor.read_all(), expected[gguf_name(name)])


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_vectors_may_be_of_any_plain_type(kind: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", "Q4_0", kind)
    assert np.array_equal(
        read_gguf(path).tensors["model.norm.weight"].read_all(), reference(path)["output_norm.weight"]
    )


def test_what_does_not_fit_is_named_and_counted(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", "Q8_0", "Q8_0")
    with pytest.raises(ModelInvalidError, match=r"output_norm\.weight is of type Q8_0, which only matrices can have"):
        read_gguf(path)
    path = write_model(tmp_path / "model.gguf", "Q1_0")
    with pytest.raises(ModelInvalidError, match="type Q1_0, which cannot be dequantized"):
        read_gguf(path)
    data = write_model(tmp_path / "model.gguf", "F16").read_bytes()
    path.write_bytes(data.replace(b"blk.0.", b"blk.1."))
    with pytest.raises(ModelInvalidError, match=r"blk\.0\.\w+\.weight is missing.*; and 10 more$"):
        read_gguf(path)
    path.write_bytes(data.replace(b"ffn_up", b"ffn_uq"))
    with pytest.raises(ModelInvalidError, match=r"ffn_up\.weight is missing; blk\.0\.ffn_uq\.weight is unknown$"):
        read_gguf(path)
