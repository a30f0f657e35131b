"""Which tensors a model must have, may have and cannot have; what is no matrix is F32."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.validate import check_runnable
from tests.support.hostile_ggufs import BASES, File, Sizes, sound, tensor

if TYPE_CHECKING:
    from pathlib import Path

RNG = random.Random(0)
NVFP4 = Sizes(n_embd=64, n_heads=4, head=16, beside=frozenset({"biases", "scales"}))


def refusal(file: File, path: Path) -> str:
    """Return what is said against a file, or ""."""
    path.write_bytes(file.written())
    try:
        check_runnable(read_header(path))
    except ModelInvalidError as e:
        return e.message.partition(" cannot be run: ")[2]
    return ""


@pytest.mark.parametrize("sizes", BASES)
def test_what_a_model_may_have_beside_is_taken(sizes: Sizes, tmp_path: Path) -> None:
    assert refusal(sound(sizes, RNG), tmp_path / "a.gguf") == ""


@pytest.mark.parametrize("sizes", BASES)
def test_every_tensor_that_is_no_matrix_must_be_f32(sizes: Sizes, tmp_path: Path) -> None:
    file = sound(sizes, RNG)
    vectors = [at for at, laid in enumerate(file.tensors) if len(laid.shape) == 1]
    assert len(vectors) > 4
    for at in vectors:
        laid = file.tensors[at]
        for kind in ("F16", "BF16", *(["Q8_0"] if laid.shape[0] % 32 == 0 else [])):
            file.tensors[at] = tensor(laid.name, laid.shape, kind, RNG)
            expected = f"{laid.name} is of type {kind}; llama.cpp needs F32 there"
            assert refusal(file, tmp_path / "a.gguf") == expected
        file.tensors[at] = replace(laid, shape=(*laid.shape, 1), kind="F16", data=bytes(2 * laid.shape[0]))
        assert f"{laid.name} is of type F16" in refusal(file, tmp_path / "a.gguf")  # a matrix of one row is a vector
        file.tensors[at] = laid


@pytest.mark.parametrize("sizes", BASES)
def test_every_tensor_must_have_its_shape(sizes: Sizes, tmp_path: Path) -> None:
    file = sound(sizes, RNG)
    for at, laid in enumerate(file.tensors):
        file.tensors[at] = tensor(laid.name, (*laid.shape[:-1], laid.shape[-1] + 1), "F32", RNG)
        found = refusal(file, tmp_path / "a.gguf")
        assert found.startswith(f"{laid.name} has the shape {file.tensors[at].shape}, not {laid.shape}"), found
        file.tensors[at] = laid


def test_what_is_missing_and_what_is_too_much_is_named(tmp_path: Path) -> None:
    file = sound(Sizes(), RNG)
    file.tensors = [laid for laid in file.tensors if laid.name != "blk.1.ffn_up.weight"]
    assert refusal(file, tmp_path / "a.gguf") == "the tensor blk.1.ffn_up.weight is missing"
    file = sound(Sizes(arch="qwen2"), RNG)
    file.tensors.append(tensor("blk.0.attn_output.bias", (32,), "F32", RNG))
    found = refusal(file, tmp_path / "a.gguf")
    assert found == "the tensor blk.0.attn_output.bias is not part of a qwen2 model that llama.cpp runs"


def test_biases_beside_one_matrix_are_three_or_none(tmp_path: Path) -> None:
    file = sound(Sizes(n_layers=1, beside=frozenset({"fused"})), RNG)
    for name, width in (("q", 32), ("k", 16), ("v", 16)):
        file.tensors.append(tensor(f"blk.0.attn_{name}.bias", (width,), "F32", RNG))
    assert refusal(file, tmp_path / "a.gguf") == ""
    file.tensors.pop()  # llama.cpp would add none of them, in silence
    assert refusal(file, tmp_path / "a.gguf") == "the tensor blk.0.attn_v.bias is missing"


def test_factors_of_long_contexts_come_in_twos(tmp_path: Path) -> None:
    file = sound(Sizes(beside=frozenset({"rope", "rope_long"})), RNG)
    assert refusal(file, tmp_path / "a.gguf") == ""
    file.tensors = [laid for laid in file.tensors if laid.name != "rope_factors_short.weight"]
    assert refusal(file, tmp_path / "a.gguf") == "the tensor rope_factors_short.weight is missing"


def test_scaled_nvfp4_with_a_bias_is_refused(tmp_path: Path) -> None:
    file = sound(NVFP4, RNG)
    at = next(at for at, laid in enumerate(file.tensors) if laid.name == "blk.0.ffn_up.weight")
    file.tensors[at] = tensor("blk.0.ffn_up.weight", file.tensors[at].shape, "NVFP4", RNG)
    assert "blk.0.ffn_up.weight is of type NVFP4 and has both a scale and a bias" in refusal(file, tmp_path / "a.gguf")
