"""The header of a GGUF file: equal to the `gguf` package on good files, and fingerprints of tokenizers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import ArrayInfo, GgufHeader, read_header, read_strings, tokenizer_fingerprint
from genrec_edge.gguf.validate import check_runnable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ModelInvalidError, match=r"model\.gguf (cannot be read|is not a regular file)"):
        read_header(path)


def assert_equal_to_gguf_package(path: Path, header: GgufHeader) -> None:
    reader = pytest.importorskip("gguf").GGUFReader(path)
    theirs = [(t.name, tuple(t.shape.tolist()), t.tensor_type.name, t.data_offset, t.n_bytes) for t in reader.tensors]
    assert [(t.name, t.shape, t.type, t.offset, t.n_bytes) for t in header.tensors] == theirs
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert fields.keys() == header.metadata.keys()
    for key, field in fields.items():
        ours = header.metadata[key]
        if not isinstance(ours, ArrayInfo):
            assert ours == field.contents(), key
        elif ours.kind == "string":
            assert [piece.decode() for piece in read_strings(header, key)] == field.contents(), key
        elif ours.values is not None:
            assert list(ours.values) == field.contents(), key
        else:
            assert ours.count == len(field.data), key
    assert header.data_offset == reader.data_offset


def test_every_kind_of_value_reads_as_with_the_gguf_package(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    tensors = {"token_embd.weight": np.zeros((100, 8), np.float16), "x": np.zeros((2, 3, 4, 5), np.int32)}
    keys = {
        "k.text": "Amélie 🎬",
        "k.empty": "",
        "k.strings": ["a", "", "ü"],
        "k.floats": [0.5, -1.0],
        "k.bools": [True, False],
        "k.negative": [-1, 5],
    }
    path = tiny_gguf(tmp_path / "tiny.gguf", keys=keys, tensors=tensors)
    header = read_header(path)
    assert_equal_to_gguf_package(path, header)
    assert header.architecture == "llama"
    assert header.quant == "F32"
    assert header.n_params == 100 * 8 + 120
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, ArrayInfo)
    assert (tokens.kind, tokens.count, tokens.values) == ("string", 100, None)


def fingerprint(path: Path) -> str:
    return tokenizer_fingerprint(read_header(path), path)


def test_equal_tokenizers_have_equal_fingerprints(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    plain = fingerprint(tiny_gguf(tmp_path / "a.gguf"))
    weights = {"token_embd.weight": np.ones((100, 8), np.float32)}
    others: dict[str, dict[str, Any]] = {
        "order": {"reverse": True},
        "template": {"keys": {"tokenizer.chat_template": "{{ x }}", "tokenizer.chat_template.rag": "y"}},
        "other metadata": {"keys": {"general.name": "other", "llama.context_length": 128}},
        "other weights": {"tensors": weights},
    }
    for name, options in others.items():
        assert fingerprint(tiny_gguf(tmp_path / "b.gguf", **options)) == plain, name


@pytest.mark.parametrize(
    "keys",
    [
        {"tokenizer.ggml.tokens": [f"t{i}" for i in range(99)] + ["x"]},
        {"tokenizer.ggml.merges": [f"t {i}" for i in range(99)]},
        {"tokenizer.ggml.pre": "llama-bpe"},
        {"tokenizer.ggml.add_bos_token": True},
        {"tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.eos_token_id": None},
    ],
)
def test_other_tokenizers_have_other_fingerprints(
    tmp_path: Path, tiny_gguf: Callable[..., Path], keys: dict[str, Any]
) -> None:
    assert fingerprint(tiny_gguf(tmp_path / "a.gguf")) != fingerprint(tiny_gguf(tmp_path / "b.gguf", keys=keys))


def test_read_strings_wants_strings(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    header = read_header(tiny_gguf(tmp_path / "a.gguf"))
    for key in ("llama.block_count", "tokenizer.ggml.token_type", "nothing"):
        with pytest.raises(ModelInvalidError, match=f"{key} is not an array of strings"):
            read_strings(header, key)


@pytest.mark.model
def test_the_real_model_reads_as_with_the_gguf_package(smollm2: Path) -> None:
    header = read_header(smollm2)
    check_runnable(header)
    assert_equal_to_gguf_package(smollm2, header)
