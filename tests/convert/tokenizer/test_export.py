"""Tokenizers written as Hugging Face files: transformers and llama.cpp give the same token ids."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import tokenizers
from transformers import AutoTokenizer

from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.convert.tokenizer.hf import read_hf_tokenizer
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from tests.support.tokenizers import VOCABS, llama_cpp_ids, transformers_ids, vectors, vocab_path, write_vocab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.convert.tokenizer.types import Tokenizer

pytestmark = pytest.mark.slow

MODEL_TYPES = {"llama-spm": "llama", "llama-bpe": "llama", "qwen2": "qwen2"}


@pytest.mark.parametrize("name", VOCABS)
def test_vectors_of_llama_cpp(
    name: str, llama_vocabs: Path, exported_vocab: Callable[[str], Path], tmp_path: Path
) -> None:
    texts, ids = map(list, zip(*vectors(llama_vocabs, name), strict=True))
    library = tokenizers.Tokenizer.from_file(str(exported_vocab(name) / "tokenizer.json"))
    assert [library.encode(text, add_special_tokens=False).ids for text in texts] == ids
    original = read_gguf_tokenizer(read_header(vocab_path(llama_vocabs, name)))
    again = read_hf_tokenizer(exported_vocab(name), len(original.tokens))
    assert llama_cpp_ids(write_vocab(again, tmp_path / "again.gguf"), texts) == ids
    assert replace(again, flags=original.flags) == original
    assert again.flags == {"add_bos_token": original.adds_bos, **original.flags}


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_transformers_cut_titles_as_llama_cpp(
    name: str, real_titles: list[str], llama_vocabs: Path, exported_vocab: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, path = exported_vocab(name), vocab_path(llama_vocabs, name)
    expected = llama_cpp_ids(path, real_titles)
    assert transformers_ids(folder, real_titles, save_path=tmp_path) == expected
    # As a checkpoint of that architecture, and as transformers save it: without tokenizer.model, among other things.
    vocab_size = len(read_gguf_tokenizer(read_header(path)).tokens)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": MODEL_TYPES[name], "vocab_size": vocab_size}))
    assert transformers_ids(tmp_path, real_titles) == expected
    assert not (tmp_path / "tokenizer.model").exists()
    again = write_vocab(read_hf_tokenizer(tmp_path, vocab_size), tmp_path / "again.gguf")
    assert llama_cpp_ids(again, real_titles) == expected
    texts, ids = map(list, zip(*vectors(llama_vocabs, name), strict=True))
    assert llama_cpp_ids(again, texts) == ids


@pytest.mark.model
def test_smollm2(smollm2: Path, real_titles: list[str], tmp_path: Path) -> None:
    header = read_header(smollm2)
    tokenizer = read_gguf_tokenizer(header)
    assert tokenizer.pre == "smollm"
    write_hf_tokenizer(tokenizer, tmp_path)
    assert transformers_ids(tmp_path, real_titles) == llama_cpp_ids(smollm2, real_titles)
    assert read_hf_tokenizer(tmp_path, len(tokenizer.tokens)) == tokenizer
    again = read_header(write_vocab(tokenizer, tmp_path / "again.gguf"))
    assert tokenizer_fingerprint(again, again.path) == tokenizer_fingerprint(header, header.path)


def test_transformers_add_the_first_token_as_llama_cpp(exported_vocab: Callable[[str], Path]) -> None:
    for name, first in (("llama-spm", [1]), ("llama-bpe", [128000]), ("qwen2", [])):
        tokenizer = AutoTokenizer.from_pretrained(exported_vocab(name))
        text = tokenizer("Alien", add_special_tokens=False)["input_ids"]
        assert tokenizer("Alien")["input_ids"] == first + text
        assert tokenizer.decode(text) == "Alien"


def test_a_vocabulary_without_a_space_before_the_text(tiny_spm: tuple[Tokenizer, Path], tmp_path: Path) -> None:
    tokenizer = replace(tiny_spm[0], flags={"add_space_prefix": False, "add_bos_token": False})
    write_hf_tokenizer(tokenizer, tmp_path)
    assert read_hf_tokenizer(tmp_path, len(tokenizer.tokens)) == tokenizer
    expected = llama_cpp_ids(write_vocab(tokenizer, tmp_path / "a.gguf"), ["alien alien"])
    assert transformers_ids(tmp_path, ["alien alien"]) == expected
    assert expected == [[273, 274]]
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    assert read_hf_tokenizer(tmp_path, len(tokenizer.tokens)).flags == {"add_space_prefix": False}
    (tmp_path / "tokenizer.model").unlink()
    assert read_hf_tokenizer(tmp_path, len(tokenizer.tokens)).flags == {"add_space_prefix": False}
