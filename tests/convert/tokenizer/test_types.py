"""Vocabularies that llama.cpp would refuse or abort on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_vocabularies_that_abort_llama_cpp_are_refused(tiny_gguf: Callable[..., Path], tmp_path: Path) -> None:
    for found, keys in {
        "1 tokens occur more than once, such as b't1'": {
            "tokenizer.ggml.tokens": ["t1", *(f"t{i}" for i in range(99))]
        },
        "256 of the 256 byte tokens are missing": {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.scores": [0.0] * 100,
        },
        "scores": {"tokenizer.ggml.scores": [float("nan")] * 100},
        "the eos token has the id 100": {"tokenizer.ggml.eos_token_id": 100},
        "add_bos_token is set": {"tokenizer.ggml.add_bos_token": True},
        "merges are not pairs": {"tokenizer.ggml.merges": ["ab"]},
        "the types": {"tokenizer.ggml.token_type": [9] * 100},
        "not of type int": {"tokenizer.ggml.bos_token_id": "1"},
        "not 'llama' or 'gpt2'": {"tokenizer.ggml.model": "bert"},
    }.items():
        with pytest.raises(ModelInvalidError) as caught:
            read_gguf_tokenizer(read_header(tiny_gguf(tmp_path / "a.gguf", keys=keys)))
        assert found in caught.value.message
