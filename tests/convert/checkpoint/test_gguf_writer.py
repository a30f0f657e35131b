"""Weights and metadata written to a GGUF, against the gguf package and our own reader."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
import torch

from genrec_edge.convert.checkpoint import types as checkpoint_module
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import MetadataValue, write_gguf
from genrec_edge.convert.checkpoint.tensor_names import gguf_name
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.types import ArrayInfo
from tests.support.gguf_blocks import reference, write_model
from tests.support.random_models import random_model, to_gguf

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


METADATA: dict[str, MetadataValue] = {
    "general.name": "n\u00e4me",
    "test.true": True,
    "test.false": False,
    "test.int": (1 << 32) - 1,
    "test.float": 0.1,
    "test.list": ["a", "\u00e4\u4e2d"],
}


def written(checkpoint: Checkpoint, path: Path) -> bytes:
    counts: list[int] = []
    with path.open("wb") as file:
        write_gguf(checkpoint, file, METADATA, on_weights=counts.append)
    assert sum(counts) == checkpoint.n_params
    return path.read_bytes()


@pytest.mark.parametrize("chunk", [1, 1000, 4096])
@pytest.mark.parametrize("kind", ["F16", "Q6_K"])
def test_the_bytes_do_not_depend_on_the_chunks(
    kind: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_gguf(write_model(tmp_path / "base.gguf", kind))
    at_once = written(checkpoint, tmp_path / "at-once.gguf")
    monkeypatch.setattr(checkpoint_module, "CHUNK_ELEMENTS", chunk)
    assert written(checkpoint, tmp_path / "in-chunks.gguf") == at_once


def test_what_was_written_is_what_the_package_reads(tmp_path: Path) -> None:
    base_path = write_model(tmp_path / "base.gguf", "Q4_K")
    path = tmp_path / "model.gguf"
    written(read_gguf(base_path), path)
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.architecture"] == "llama"
    assert fields["general.type"] == "model"
    assert fields["general.file_type"] == 1
    for key, value in METADATA.items():
        assert fields[key] == (pytest.approx(value, 1e-7) if isinstance(value, float) else value)
    types = {key: reader.fields[key].types[-1].name for key in METADATA}
    assert types == {
        "general.name": "STRING",
        "test.true": "BOOL",
        "test.false": "BOOL",
        "test.int": "UINT32",
        "test.float": "FLOAT32",
        "test.list": "STRING",
    }
    expected = reference(base_path)
    found = reference(path)
    assert found.keys() == expected.keys()
    for tensor in reader.tensors:
        assert tensor.data_offset % 32 == 0
        assert tensor.tensor_type.name == ("F32" if len(tensor.shape) == 1 else "F16")
        values = expected[tensor.name]
        assert np.array_equal(found[tensor.name], values.astype(np.float16) if values.ndim == 2 else values)
    last = reader.tensors[-1]
    assert path.stat().st_size == -(-(last.data_offset + last.n_bytes) // 32) * 32
    Model(path).close()


@pytest.mark.parametrize("more", range(0, 32, 3))
def test_every_tensor_starts_where_the_format_wants_it(more: int, tmp_path: Path) -> None:
    """Whatever the length of the header, and of the tensors before."""
    base = read_gguf(write_model(tmp_path / "base.gguf", "F32"))
    values = {
        "model.norm.weight": np.arange(5, dtype=np.float32),
        "model.embed_tokens.weight": np.arange(21, dtype=np.float32).reshape(3, 7),
        "lm_head.weight": np.arange(22, dtype=np.float32).reshape(11, 2),
    }

    def tensor(name: str) -> Tensor:
        return Tensor(name, values[name].shape, "F32", lambda rows: values[name][rows].copy())

    with (tmp_path / "model.gguf").open("wb") as file:
        write_gguf(replace(base, tensors={name: tensor(name) for name in values}), file, {"test.name": "x" * more})
    found = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert all(np.array_equal(found[gguf_name(name)], expected) for name, expected in values.items())


def test_our_own_reader_agrees(tmp_path: Path) -> None:
    written(read_gguf(write_model(tmp_path / "base.gguf", "Q4_0")), tmp_path / "model.gguf")
    header = read_header(tmp_path / "model.gguf")
    assert header.metadata["test.true"] is True
    tags = header.metadata["test.list"]
    assert isinstance(tags, ArrayInfo)
    assert tags.values == tuple(METADATA["test.list"])  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1e5, -np.inf, np.nan])
def test_a_bad_weight_in_a_late_chunk_is_found(value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "CHUNK_ELEMENTS", 1000)
    base = read_gguf(write_model(tmp_path / "base.gguf", "F32"))
    name = "model.layers.0.mlp.down_proj.weight"
    values = base.tensors[name].read_all()
    values[-1, -1] = value
    bad = replace(base.tensors[name], read=lambda rows: values[rows])
    with pytest.raises(ModelInvalidError, match=r"down_proj\.weight \(F32\) has weights that are not finite"):
        write_gguf(replace(base, tensors={**base.tensors, name: bad}), io.BytesIO(), {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
@pytest.mark.parametrize("name", ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"])
def test_weights_beyond_half_floats_are_refused(value: float, name: str, tmp_path: Path, llama_vocabs: Path) -> None:
    model = random_model("llama-2", tmp_path / "hf", llama_vocabs)
    with torch.no_grad():
        model.get_parameter(name).view(-1)[3] = value
    model.save_pretrained(tmp_path / "hf")
    if value == 1e6 and "norm" in name:  # vectors stay float32
        to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
        return
    with pytest.raises(ModelInvalidError, match=name):
        to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()
