"""Which GGUF files are models that can be run: everything that is wrong is found, and named in one error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.validate import check_runnable
from tests.support.gguf_files import tiny_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_the_family_can_be_run(tmp_path: Path, tiny_gguf: Callable[..., Path], architecture: str) -> None:
    check_runnable(read_header(tiny_gguf(tmp_path / "a.gguf", architecture=architecture)))


def test_a_sentencepiece_model_can_be_run(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    check_runnable(read_header(tiny_gguf(tmp_path / "a.gguf", n_tokens=300, keys=spm(300))))


def spm(n_tokens: int, **changes: object) -> dict[str, object]:
    tokens = [f"<0x{i:02X}>" for i in range(256)] + [f"t{i}" for i in range(256, n_tokens)]
    keys = {"model": "llama", "tokens": tokens, "scores": [0.0] * n_tokens, "merges": None, **changes}
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


EMBEDDING = np.zeros((100, 8), np.float32)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in tiny_tensors().items() if key != name}


UNRUNNABLE: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architecture": "gemma3"}, "is a 'gemma3' model; genrec-edge runs llama, qwen2, qwen3"),
    "adapter": ({"keys": {"general.type": "adapter"}}, "is of type 'adapter', not a model"),
    "split": ({"keys": {"split.count": 3}}, "one of 3 parts of a split model"),
    "vocabulary only": ({"tensors": {}}, "holds a vocabulary and no weights"),
    "missing size": ({"keys": {"llama.block_count": None}}, "llama.block_count is missing"),
    "no size": ({"keys": {"llama.context_length": "8k"}}, "llama.context_length is '8k'"),
    "layers that abort": ({"keys": {"llama.block_count": 513}}, "block_count is 513, more than 512"),
    "epsilon": ({"keys": {"llama.attention.layer_norm_rms_epsilon": 0.0}}, "epsilon is 0.0"),
    "rope that aborts": ({"keys": {"llama.rope.scaling.type": "magic"}}, "rope.scaling.type is 'magic'"),
    "nextn that aborts": ({"keys": {"llama.nextn_predict_layers": 9}}, "nextn_predict_layers is set"),
    "heads": ({"keys": {"llama.attention.head_count_kv": 3}}, "2 heads cannot share 3 key-value heads"),
    "head size": ({"keys": {"llama.attention.key_length": 6}}, "key 6, value 4, rotated 6"),
    "rope size": ({"keys": {"llama.rope.dimension_count": 2}}, "key 4, value 4, rotated 2"),
    "looks ahead": (
        {"keys": {"llama.attention.causal": False}},
        "attention.causal is False; only models that look back",
    ),
    "pooling": ({"keys": {"llama.pooling_type": 1}}, "pooling_type is 1; models of embeddings are not run"),
    "another width": ({"keys": {"llama.embedding_length_out": 4}}, "embedding_length_out is 4, not 8"),
    "rope base": ({"keys": {"llama.rope.freq_base": 0.0}}, "rope.freq_base is 0.0, not a positive number"),
    "rope scaling": ({"keys": {"llama.rope.scaling.factor": float("nan")}}, "rope.scaling.factor is nan"),
    "experts that nobody runs": (
        {"architecture": "qwen2", "keys": {"qwen2.expert_count": 2, "qwen2.expert_used_count": 1}},
        "2 experts, which llama.cpp does not run in a qwen2 model",
    ),
    "heads that abort": (
        {"architecture": "qwen2", "keys": {f"qwen2.attention.{name}_length": 8 for name in ("key", "value")}},
        "2 heads of 8 numbers are not the 8 of a token",
    ),
    "experts": ({"keys": {"llama.expert_count": 2, "llama.expert_used_count": 3}}, "uses 3 of 2 experts"),
    "expert groups": ({"keys": {"llama.expert_group_count": 2}}, "expert_group_count is set"),
    "integer weights": (
        {"tensors": {**tiny_tensors(), "token_embd.weight": EMBEDDING.astype(np.int32)}},
        "of type I32, which is not for weights",
    ),
    "no embedding": ({"tensors": without("token_embd.weight")}, "token_embd.weight is missing"),
    "no norm": ({"tensors": without("output_norm.weight")}, "output_norm.weight is missing"),
    "embedding shape": (
        {"tensors": {**tiny_tensors(), "token_embd.weight": EMBEDDING[:99]}},
        r"has the shape \(8, 99\), not \(8, 100\)",
    ),
    "tokenizer": ({"keys": {"tokenizer.ggml.model": "bert"}}, "tokenizer is 'bert', not one of gpt2, llama"),
    "no tokenizer": ({"keys": {"tokenizer.ggml.model": None}}, "tokenizer is missing"),
    "no tokens": ({"keys": {"tokenizer.ggml.tokens": None}}, "tokens is not a list of strings"),
    "no merges": ({"keys": {"tokenizer.ggml.merges": None}}, "merges is missing"),
    "short types": ({"keys": {"tokenizer.ggml.token_type": [1] * 99}}, "token_type is a list of 99 int32"),
    "twins that abort": (
        {"keys": {"tokenizer.ggml.tokens": ["a", "a"] + [f"t{i}" for i in range(98)]}},
        "vocabulary holds 1 pieces twice",
    ),
    "no scores": ({"n_tokens": 300, "keys": spm(300, scores=None)}, "scores is missing"),
    "bytes that throw": (
        {"n_tokens": 300, "keys": spm(300, tokens=[f"t{i}" for i in range(300)])},
        "no piece for 256 of the 256 bytes",
    ),
}


@pytest.mark.parametrize("name", UNRUNNABLE)
def test_what_cannot_be_run_is_said(tmp_path: Path, tiny_gguf: Callable[..., Path], name: str) -> None:
    options, found = UNRUNNABLE[name]
    path = tiny_gguf(tmp_path / "a.gguf", **options)
    with pytest.raises(ModelInvalidError, match=found) as caught:
        check_runnable(read_header(path))
    assert caught.value.message.startswith(str(path))


def test_all_findings_come_in_one_error(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    keys = {"llama.block_count": None, "tokenizer.ggml.merges": None, "llama.rope.scaling.type": "x" * 10_000}
    with pytest.raises(ModelInvalidError) as caught:
        check_runnable(read_header(tiny_gguf(tmp_path / "a.gguf", keys=keys)))
    for found in ("block_count", "merges", "rope.scaling.type"):
        assert found in caught.value.message
    assert len(caught.value.message) < 1000


def test_empty_pieces_are_no_twins(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    tokens = ["", ""] + [f"t{i}" for i in range(98)]
    check_runnable(read_header(tiny_gguf(tmp_path / "a.gguf", keys={"tokenizer.ggml.tokens": tokens})))
