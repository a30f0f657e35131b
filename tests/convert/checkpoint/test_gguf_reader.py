"""Weights out of a GGUF and into one: every type against the gguf package, rows against the whole, sizes, bytes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.convert.checkpoint import types as checkpoint_module
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import MetadataValue, write_gguf
from genrec_edge.convert.checkpoint.tensor_names import gguf_name
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.types import ArrayInfo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[..., Path]

pytestmark = pytest.mark.slow

WIDTH, HIDDEN, N_TOKENS, N_HEADS, N_KV_HEADS = 256, 512, 12, 4, 2
SHAPES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH // 2, WIDTH),
    "attn_v": (WIDTH // 2, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (HIDDEN, WIDTH),
    "ffn_up": (HIDDEN, WIDTH),
    "ffn_down": (WIDTH, HIDDEN),
}
TYPES = [
    kind.name
    for kind in gguf.GGMLQuantizationType
    # Integers, float64 and intermediate results are no weights; Q1_0 is one the package cannot dequantize.
    if kind.name not in {"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K", "Q1_0"}
]


def write_model(path: Path, kind: str, vector_kind: str = "F32") -> Path:
    """Write a LLaMA of one layer whose matrices are random blocks of a type, with scales that are numbers."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {
        "context_length": 64,
        "embedding_length": WIDTH,
        "block_count": 1,
        "feed_forward_length": HIDDEN,
        "attention.head_count": N_HEADS,
        "attention.head_count_kv": N_KV_HEADS,
    }.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*(f"t{i}" for i in range(N_TOKENS - 1)), "\u010a"])
    writer.add_token_types([1] * N_TOKENS)
    writer.add_token_merges(["a b"])
    rng = np.random.default_rng(1)
    shapes = {f"blk.0.{name}.weight": shape for name, shape in SHAPES.items()}
    for name, shape in {"token_embd.weight": (N_TOKENS, WIDTH), **shapes}.items():
        add(writer, name, random_blocks(rng, shape, gguf.GGMLQuantizationType[kind]), kind)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        add(writer, name, random_blocks(rng, (WIDTH,), gguf.GGMLQuantizationType[vector_kind]), vector_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer: gguf.GGUFWriter, name: str, data: NDArray[Any], kind: str) -> None:
    writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])


def random_blocks(rng: np.random.Generator, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> NDArray[Any]:
    """Return the bytes of random weights, quantized where the package can, any bytes that are numbers otherwise."""
    try:
        return np.asarray(gguf.quants.quantize(rng.normal(0, 1, shape).astype(np.float32), kind))
    except NotImplementedError:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        # Bytes below 0x30 are half floats of at most 0.11, wherever a block has its scales.
        return rng.integers(0, 0x30, (*shape[:-1], shape[-1] // block * size), np.uint8)


def reference(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return all tensors of a GGUF by the gguf package alone, rows of queries and keys as transformers has them."""
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        heads = {"blk.0.attn_q.weight": N_HEADS, "blk.0.attn_k.weight": N_KV_HEADS}.get(tensor.name)
        if heads:
            pairs = torch.tensor(values).reshape(heads, -1, 2, WIDTH)
            values = torch.cat((pairs[:, :, 0], pairs[:, :, 1]), 1).reshape(-1, WIDTH).numpy()
        found[tensor.name] = np.array(values)
    return found


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


@given(rows=st.integers(1, 400), columns=st.integers(1, 400), chunk=st.integers(1, 5000), matrix=st.booleans())
def test_chunks_cover_every_row_once_and_hold_no_more_than_they_may(
    rows: int, columns: int, chunk: int, matrix: bool
) -> None:
    shape = (rows, columns) if matrix else (rows,)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_module, "CHUNK_ELEMENTS", chunk)
        chunks = list(Tensor("x", shape, "F32", lambda _rows: np.zeros(0, np.float32)).row_chunks())
    assert [row for part in chunks for row in range(rows)[part]] == list(range(rows))
    row_elements = columns if matrix else 1
    assert all((part.stop - part.start) * row_elements <= max(chunk, row_elements) for part in chunks)
    if len(chunks) > 1:  # and they are as large as they may be
        assert (chunks[0].stop + 1) * row_elements > chunk


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
