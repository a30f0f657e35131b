"""Tokenizers of llama.cpp and tiny ones, as Hugging Face files and as GGUF, and what each library makes of a text."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import gguf
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.gguf import gguf_fields, read_gguf_tokenizer
from genrec_edge.convert.tokenizer.types import BYTE, CONTROL, NORMAL, UNKNOWN, Tokenizer
from genrec_edge.engine.bindings import Model
from genrec_edge.gguf.header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VOCABS = ("llama-spm", "llama-bpe", "qwen2", "gpt-2")


@pytest.fixture(scope="session")
def real_titles(films_path: Path) -> list[str]:
    """500 real titles: every kind of accent, and a sample of the others."""
    with Catalog.open(films_path) as catalog:
        titles = sorted({title for _, title, _ in catalog.titles()})
    foreign = [title for title in titles if not title.isascii()][:150]
    return foreign + random.Random(3).sample([t for t in titles if t.isascii()], 350)


@pytest.fixture(scope="session")
def exported_vocab(llama_vocabs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a function: the folder with a vocabulary of llama.cpp as Hugging Face files, made once."""
    made: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in made:
            folder = made[name] = tmp_path_factory.mktemp(name)
            write_hf_tokenizer(read_gguf_tokenizer(read_header(vocab_path(llama_vocabs, name))), folder)
        return made[name]

    return folder_of


@pytest.fixture
def tiny_bpe(tiny_llama: Path, tmp_path: Path) -> tuple[Tokenizer, Path]:
    """A byte-level BPE of 270 tokens, and the folder with its Hugging Face files."""
    tokenizer = read_gguf_tokenizer(read_header(tiny_llama))
    write_hf_tokenizer(tokenizer, tmp_path / "bpe")
    return tokenizer, tmp_path / "bpe"


@pytest.fixture
def tiny_spm(tmp_path: Path) -> tuple[Tokenizer, Path]:
    """A SentencePiece tokenizer of few pieces, and the folder with its Hugging Face files."""
    pieces = ["\u2581", *"abcdeilnot", "al", "ali", "en", "alien", "\u2581alien", "\u2581a"]
    scores = [-100.0] * 11 + [-float(i) for i in range(6)]
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % i for i in range(256)), *(p.encode() for p in pieces)]
    tokenizer = Tokenizer(
        model="llama",
        pre="default",
        tokens=tuple(tokens),
        types=(UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces)),
        scores=(*[0.0] * 259, *scores),
        special={"bos": 1, "eos": 2, "unknown": 0},
        flags={"add_bos_token": True},
    )
    write_hf_tokenizer(tokenizer, tmp_path / "spm")
    return tokenizer, tmp_path / "spm"


def vocab_path(folder: Path, name: str) -> Path:
    return folder / f"ggml-vocab-{name}.gguf"


def vectors(folder: Path, name: str) -> list[tuple[str, list[int]]]:
    """Return texts and their token ids of transformers, which are test data of llama.cpp."""
    path = vocab_path(folder, name)
    *texts, rest = path.with_suffix(".gguf.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    lines = path.with_suffix(".gguf.out").read_text().split("\n")[: len(texts)]
    assert (len(texts), rest) == (46, "")
    return [(text, [int(number) for number in line.split()]) for text, line in zip(texts, lines, strict=True)]


def write_vocab(tokenizer: Tokenizer, path: Path) -> Path:
    """Write a GGUF with a vocabulary and no weights."""
    writer = gguf.GGUFWriter(path, "llama")
    for field in gguf_fields(tokenizer):
        item_type = None if field.item_type is None else gguf.GGUFValueType(field.item_type)
        writer.add_key_value(field.key, field.value, gguf.GGUFValueType(field.type), item_type)
    for name in ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"):
        writer.add_uint32(f"llama.{name}", 8)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama_cpp_ids(path: Path, texts: list[str]) -> list[list[int]]:
    """Return the token ids of llama.cpp."""
    model = Model(path, vocab_only=True)
    try:
        return [list(model.tokenize(text)) for text in texts]
    finally:
        model.close()


def transformers_ids(folder: Path, texts: list[str], *, save_path: Path | None = None) -> list[list[int]]:
    """Return the token ids of transformers; with `save_path` transformers also saves the tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if save_path is not None:
        tokenizer.save_pretrained(save_path)
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def edit(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    document = json.loads((folder / name).read_text("utf-8"))
    change(document)
    (folder / name).write_text(json.dumps(document), "utf-8")
