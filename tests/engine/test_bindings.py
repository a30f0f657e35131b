"""Loading and tokenising with llama.cpp's bindings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.engine import bindings
from genrec_edge.engine.bindings import Model, library, logged, quantize
from genrec_edge.errors import ModelInvalidError, UsageError
from tests.support.coordinates import tokens

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


def test_the_first_thing_that_llama_cpp_says_of_a_refused_file_is_the_reason(tiny_llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(tiny_llama.read_bytes()[:-4000])
    with pytest.raises(ModelInvalidError, match="not within the file bounds"):
        Model(path)


def test_numbers_that_llama_cpp_would_not_check_are_refused(tiny_llama: Path, tmp_path: Path) -> None:
    model = Model(tiny_llama, vocab_only=True)
    for token_ids in ((-1,), (model.n_vocab,), (1, 2**40)):
        with pytest.raises(UsageError, match=f"token ids must be from 0 to {model.n_vocab - 1}"):
            model.detokenize(tokens(*token_ids))
    assert model.detokenize([]) == ""
    model.close()
    with pytest.raises(UsageError, match="`n_threads` must be at least 1, got 0"):
        quantize(tiny_llama, tmp_path / "out.gguf", "Q8_0", n_threads=0)
    wrong_ones: list[Any] = [np.ones(4, np.float64), np.ones(8, np.float32)[::2], np.ones((2, 2), np.float32)]
    for wrong in wrong_ones:
        with pytest.raises(UsageError, match="`imatrix` must hold rows of float32 without gaps, 'a' does not"):
            quantize(tiny_llama, tmp_path / "out.gguf", "Q8_0", imatrix={"a": wrong})
    assert list(tmp_path.iterdir()) == []


def test_what_a_listener_raises_is_raised_after_the_call(tiny_llama: Path, tmp_path: Path) -> None:
    def raising(_line: str) -> None:
        raise ValueError("no more lines")

    with pytest.raises(ValueError, match="no more lines"):
        quantize(tiny_llama, tmp_path / "out.gguf", "Q8_0", on_line=raising)
    assert list(tmp_path.iterdir()) == []
    lines: list[str] = []
    quantize(tiny_llama, tmp_path / "out.gguf", "Q8_0", on_line=lines.append)
    assert any("token_embd.weight" in line for line in lines)


@pytest.mark.parametrize(("code", "levels"), [(0, {"WARNING", "DEBUG"}), (2, {"DEBUG"})])
def test_lines_of_a_call_are_logged_by_what_came_of_it(
    caplog: pytest.LogCaptureFixture, code: int, levels: set[str]
) -> None:
    caplog.set_level(logging.DEBUG, "genrec_edge")
    library()

    def call() -> int:
        for level, text in ((3, b"slow"), (1, b"step"), (3, b"")):
            _callback()(level, text, None)
        return code

    assert logged(call, quiet={2}) == code
    assert {record.levelname for record in caplog.records} == levels
    assert [record.getMessage() for record in caplog.records] == ["slow", "step"]


def _callback() -> Any:
    """Return the function that llama.cpp calls for each line it logs."""
    return bindings._kept_alive[0]


@pytest.mark.parametrize("has_amx", [True, False])
def test_weights_stay_out_of_the_buffers_of_amx(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, *, has_amx: bool
) -> None:
    asked: list[bool] = []

    def load(_path: bytes, params: Any) -> None:
        asked.append(params.use_extra_bufts)

    monkeypatch.setattr(bindings, "is_built_for_amx", lambda: has_amx)
    monkeypatch.setattr(library(), "llama_model_load_from_file", load)
    with pytest.raises(ModelInvalidError, match="cannot load"):
        Model(tiny_llama)
    assert asked == [not has_amx]
