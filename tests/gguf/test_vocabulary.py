"""Which vocabularies llama.cpp takes: it names empty pieces, ends them at a NUL, and twins end the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.vocabulary import vocabulary_problems

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@pytest.mark.parametrize(
    ("pieces", "n_twins"),
    [
        (["", "[EMPTY_0]"], 1),
        (["[EMPTY_1]", ""], 1),
        (["", "", "[EMPTY_2]"], 0),
        (["[EMPTY_1]", "x", ""], 0),
        (["a", "a\0b"], 1),
        (["\0a", "[EMPTY_0]"], 1),
        (["a", "a", "a"], 2),
    ],
)
def test_twins_are_counted_as_llama_cpp_names_them(
    pieces: list[str], n_twins: int, tiny_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    tokens = [*pieces, *(f"t{i}" for i in range(100 - len(pieces)))]
    header = read_header(tiny_gguf(tmp_path / "a.gguf", keys={"tokenizer.ggml.tokens": tokens}))
    expected = [f"its vocabulary holds {n_twins} pieces twice"] if n_twins else []
    assert list(vocabulary_problems(header)) == expected


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ""),
        ({"tokens": [*BYTES[:-1], "<0xF", "x"]}, "1 pieces of its vocabulary stand for a byte and are not written"),
        ({"scores": [0.0] * 256 + [float("nan")]}, "the scores of 1 pieces of its vocabulary are not numbers"),
        ({"tokens": ["\0", *BYTES[1:], "x"]}, "no piece for 1 of the 256 bytes"),
    ],
)
def test_bytes_and_scores_of_a_sentencepiece_vocabulary(
    changes: dict[str, list[object]], found: str, tiny_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    keys = {"model": "llama", "tokens": [*BYTES, "x"], "scores": [0.0] * 257, "token_type": [6] * 256 + [1], **changes}
    path = tiny_gguf(tmp_path / "a.gguf", n_tokens=257, keys={f"tokenizer.ggml.{k}": v for k, v in keys.items()})
    assert found in "; ".join(vocabulary_problems(read_header(path)))
    assert bool(found) == bool(list(vocabulary_problems(read_header(path))))
