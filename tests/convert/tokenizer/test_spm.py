"""SentencePiece models, against the `sentencepiece` package and the original file of LLaMA."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sentencepiece

from genrec_edge.convert.tokenizer import spm
from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.convert.tokenizer.hf import read_hf_tokenizer
from genrec_edge.convert.tokenizer.spm import encode_pieces, merges_from_scores
from genrec_edge.convert.tokenizer.types import BYTE, Tokenizer
from genrec_edge.gguf.header import read_header
from tests.support.tokenizers import llama_cpp_ids, transformers_ids, vocab_path, write_vocab

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

# What Meta's tokenizer.model says after its pieces: how they were trained.
_LLAMA_TRAINER_FIELDS: list[tuple[int, spm.ProtobufValue]] = [
    (1, b"/large_experiments/theorem/datasets/MERGED/all.test1.merged"),
    (2, b"spm_model_32k_200M_charcov099995_allowWSO__v2"),
    *((3, 2), (4, 32000), (6, 0), (7, b"text"), (10, 0.99995), (11, 200_000_000), (14, 1_000_000), (15, 0.75)),
    *((16, 80), (17, 2), (18, 4192), (19, 1), (20, 16), (21, 1), (22, 1), (23, 1), (24, 0), (25, 1), (26, 1)),
    *((32, 1), (33, 1), (34, 0), (35, 1), (36, b""), (40, 0), (41, 1), (42, 2), (43, -1)),
    *((44, " \u2047 ".encode()), (45, b"<unk>"), (46, b"<s>"), (47, b"</s>"), (48, b"<pad>"), (49, 0)),
    *((50, 0), (51, 0.0), (52, 0)),
]
_LLAMA_TRAINER = b"".join(spm._encode_field(number, value) for number, value in _LLAMA_TRAINER_FIELDS)
_LLAMA_NORMALIZER = bytes.fromhex("0a086964656e74697479 1200 1801 2000 3200")


def test_the_pieces_of_llama_are_those_of_the_original_file(llama_vocabs: Path, tmp_path: Path) -> None:
    llama = read_gguf_tokenizer(read_header(vocab_path(llama_vocabs, "llama-spm")))
    pieces = encode_pieces(llama.tokens, llama.scores, llama.types)
    rest = spm._encode_field(2, _LLAMA_TRAINER) + spm._encode_field(3, _LLAMA_NORMALIZER)
    content = pieces + rest
    assert hashlib.sha256(content).hexdigest() == "9e556afd44213b6bd1be2b850ebbbd98f5481437a8021afaf58ee7fb1818d347"
    (tmp_path / "tokenizer.model").write_bytes(content)
    assert replace(read_hf_tokenizer(tmp_path, 32000), flags=llama.flags) == llama


def test_mistral_is_cut_as_by_sentencepiece(mistral_v1: Path, real_titles: list[str], tmp_path: Path) -> None:
    truth = sentencepiece.SentencePieceProcessor(model_file=str(mistral_v1))
    expected = truth.encode(real_titles)
    tokenizer = read_hf_tokenizer(mistral_v1.parent, 32000)
    assert [token.decode() for token in tokenizer.tokens] == truth.id_to_piece(list(range(32000)))
    assert list(tokenizer.scores) == truth.get_score(list(range(32000)))
    assert [i for i, kind in enumerate(tokenizer.types) if kind == BYTE] == [
        i for i in range(32000) if truth.is_byte(i)
    ]
    assert tokenizer.special == {"bos": 1, "eos": 2, "unknown": 0}
    assert llama_cpp_ids(write_vocab(tokenizer, tmp_path / "mistral.gguf"), real_titles) == expected
    write_hf_tokenizer(tokenizer, tmp_path)
    assert transformers_ids(tmp_path, real_titles) == expected
    again = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert again.encode(real_titles) == expected
    (tmp_path / "tokenizer.model").unlink()
    rebuilt = read_hf_tokenizer(tmp_path, 32000)
    assert rebuilt.scores != tokenizer.scores
    assert llama_cpp_ids(write_vocab(rebuilt, tmp_path / "rebuilt.gguf"), real_titles) == expected


def test_merges_are_all_pairs_that_make_a_piece(tiny_spm: tuple[Tokenizer, Path]) -> None:
    pieces = {"a": 0.0, "b": 0.0, "ab": -2.0, "ba": -1.0, "aba": -3.0}
    assert merges_from_scores(pieces) == [("b", "a"), ("a", "b"), ("ab", "a"), ("a", "ba")]
    assert transformers_ids(tiny_spm[1], ["alien alien"]) == [[274, 274]]
