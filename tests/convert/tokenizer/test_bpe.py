"""Pre-tokenizers and normalizers: which are recognised, and which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.convert.tokenizer.hf import read_hf_tokenizer
from genrec_edge.errors import ModelInvalidError
from tests.support.tokenizers import edit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.convert.tokenizer.types import Tokenizer

REFUSALS: dict[str, Callable[[Any], object]] = {
    "its pre_tokenizer is missing": lambda d: d.update(pre_tokenizer=None),
    "Whitespace": lambda d: d.update(pre_tokenizer={"type": "Whitespace"}),
    "its ignore_merges is not that of smollm": lambda d: d["model"].update(ignore_merges=True),
    "Lowercase": lambda d: d.update(normalizer={"type": "Lowercase"}),
    "its model is 'Unigram'": lambda d: d["model"].update(type="Unigram"),
    "dropout 0.1": lambda d: d["model"].update(dropout=0.1),
    "does not join two tokens": lambda d: d["model"]["merges"].append("t zz"),
    "same id": lambda d: d["model"]["vocab"].update(zz=3),
    "lacks a vocabulary with ids": lambda d: d["model"]["vocab"].update(zz=True),
    "is not an added token": lambda d: d["added_tokens"].append({"id": "5", "content": "x"}),
    "not those of LLaMA or Mistral": lambda d: d["model"].update(byte_fallback=True),
    "surrogates not allowed": lambda d: d["model"]["vocab"].update({"\ud800": 270}),
}


@pytest.mark.parametrize("found", REFUSALS)
def test_what_llama_cpp_would_cut_otherwise_is_refused(found: str, tiny_bpe: tuple[Tokenizer, Path]) -> None:
    _, folder = tiny_bpe
    edit(folder, "tokenizer.json", REFUSALS[found])
    with pytest.raises(ModelInvalidError, match=r"tokenizer\.json") as caught:
        read_hf_tokenizer(folder, 272)
    assert found in caught.value.message
    assert caught.value.hint


def test_nfc_is_what_titles_are_in_already(tiny_bpe: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = tiny_bpe
    edit(folder, "tokenizer.json", lambda d: d.update(normalizer={"type": "NFC"}))
    assert read_hf_tokenizer(folder, len(tokenizer.tokens)) == tokenizer
