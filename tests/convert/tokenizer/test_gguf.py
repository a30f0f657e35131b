"""The tokenizer of a GGUF: no key is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from tests.support.tokenizers import VOCABS, vocab_path, write_vocab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", VOCABS)
def test_gguf_to_gguf_keeps_the_fingerprint(name: str, llama_vocabs: Path, tmp_path: Path) -> None:
    header = read_header(vocab_path(llama_vocabs, name))
    again = read_header(write_vocab(read_gguf_tokenizer(header), tmp_path / "again.gguf"))
    assert tokenizer_fingerprint(again, again.path) == tokenizer_fingerprint(header, header.path)
    assert again.metadata.get("tokenizer.chat_template") == header.metadata.get("tokenizer.chat_template")


def test_gguf_keys_without_a_place_are_kept(tiny_gguf: Callable[..., Path], tmp_path: Path) -> None:
    tokens = [f"t{i}" for i in range(100)]
    keys = {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.fim_pre_token_id": 3,
        "tokenizer.ggml.remove_extra_whitespaces": True,
        "tokenizer.huggingface.json": "{}",
        "tokenizer.other.scale": 0.5,
        "tokenizer.other.names": ["a", "b"],
        "tokenizer.other.numbers": list(range(80)),
        "tokenizer.ggml.scores": [float(i) for i in range(100)],
    }
    header = read_header(tiny_gguf(tmp_path / "a.gguf", keys=keys))
    again = read_header(write_vocab(read_gguf_tokenizer(header), tmp_path / "b.gguf"))
    assert tokenizer_fingerprint(again, again.path) == tokenizer_fingerprint(header, header.path)
