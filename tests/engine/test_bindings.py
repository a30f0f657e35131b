"""Loading and tokenising with llama.cpp's bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.engine.bindings import Model
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from pathlib import Path


def test_special_tokens_in_text_stay_text(tiny_llama: Path) -> None:
    model = Model(tiny_llama, vocab_only=True)
    for text in ("<|end|>", "The Alien", "é 日本 🎬", "a\x00b", "\ud800"):
        token_ids = model.tokenize(text)
        assert model.n_vocab - 1 not in token_ids
        assert model.detokenize(token_ids) == text.encode(errors="replace").decode()
    model.close()


def test_a_file_that_llama_cpp_refuses(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF no")
    with pytest.raises(ModelInvalidError, match="cannot load"):
        Model(path)
