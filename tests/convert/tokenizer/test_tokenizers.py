"""Tokenizers between GGUF and Hugging Face files: the same text is cut into the same ids, whoever cuts it."""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gguf
import pytest
import sentencepiece
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.tokenizer import spm
from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.gguf import gguf_fields, read_gguf_tokenizer
from genrec_edge.convert.tokenizer.hf import read_hf_tokenizer
from genrec_edge.convert.tokenizer.spm import encode_pieces, merges_from_scores
from genrec_edge.convert.tokenizer.types import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Tokenizer
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

VOCABS = ("llama-spm", "llama-bpe", "qwen2", "gpt-2")
MODEL_TYPES = {"llama-spm": "llama", "llama-bpe": "llama", "qwen2": "qwen2"}

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


@pytest.fixture(scope="session")
def titles(films_path: Path) -> list[str]:
    """500 real titles: every kind of accent, and a sample of the others."""
    with Catalog.open(films_path) as catalog:
        score_all = sorted({title for _, title, _ in catalog.titles()})
    foreign = [title for title in score_all if not title.isascii()][:150]
    return foreign + random.Random(3).sample([t for t in score_all if t.isascii()], 350)


@pytest.fixture(scope="session")
def exported(llama_vocabs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a function: the folder with a vocabulary of llama.cpp as Hugging Face files, made once."""
    made: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in made:
            folder = made[name] = tmp_path_factory.mktemp(name)
            write_hf_tokenizer(read_gguf_tokenizer(read_header(vocab_path(llama_vocabs, name))), folder)
        return made[name]

    return folder_of


@pytest.fixture
def small(tiny_llama: Path, tmp_path: Path) -> tuple[Tokenizer, Path]:
    """A byte-level BPE of 270 tokens, and the folder with its Hugging Face files."""
    tokenizer = read_gguf_tokenizer(read_header(tiny_llama))
    write_hf_tokenizer(tokenizer, tmp_path / "bpe")
    return tokenizer, tmp_path / "bpe"


@pytest.fixture
def small_spm(tmp_path: Path) -> tuple[Tokenizer, Path]:
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
    """Texts and their ids as transformers cut them, which llama.cpp tests itself with."""
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


def cut(path: Path, texts: list[str]) -> list[list[int]]:
    """What llama.cpp cuts texts into."""
    model = Model(path, vocab_only=True)
    try:
        return [list(model.tokenize(text)) for text in texts]
    finally:
        model.close()


def hf_cut(folder: Path, texts: list[str], *, save_path: Path | None = None) -> list[list[int]]:
    """What transformers cut texts into; the tokenizer is also saved by transformers where asked."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if save_path is not None:
        tokenizer.save_pretrained(save_path)
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def edit(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    document = json.loads((folder / name).read_text("utf-8"))
    change(document)
    (folder / name).write_text(json.dumps(document), "utf-8")


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


@pytest.mark.parametrize("name", VOCABS)
def test_vectors_of_llama_cpp(name: str, llama_vocabs: Path, exported: Callable[[str], Path], tmp_path: Path) -> None:
    texts, ids = map(list, zip(*vectors(llama_vocabs, name), strict=True))
    library = tokenizers.Tokenizer.from_file(str(exported(name) / "tokenizer.json"))
    assert [library.encode(text, add_special_tokens=False).ids for text in texts] == ids
    original = read_gguf_tokenizer(read_header(vocab_path(llama_vocabs, name)))
    again = read_hf_tokenizer(exported(name), len(original.tokens))
    assert cut(write_vocab(again, tmp_path / "again.gguf"), texts) == ids
    assert replace(again, flags=original.flags) == original
    assert again.flags == {"add_bos_token": original.adds_bos, **original.flags}


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_transformers_cut_titles_as_llama_cpp(
    name: str, titles: list[str], llama_vocabs: Path, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, path = exported(name), vocab_path(llama_vocabs, name)
    expected = cut(path, titles)
    assert hf_cut(folder, titles, save_path=tmp_path) == expected
    # As a checkpoint of that architecture, and as transformers save it: without tokenizer.model, among other things.
    vocab_size = len(read_gguf_tokenizer(read_header(path)).tokens)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": MODEL_TYPES[name], "vocab_size": vocab_size}))
    assert hf_cut(tmp_path, titles) == expected
    assert not (tmp_path / "tokenizer.model").exists()
    again = write_vocab(read_hf_tokenizer(tmp_path, vocab_size), tmp_path / "again.gguf")
    assert cut(again, titles) == expected
    texts, ids = map(list, zip(*vectors(llama_vocabs, name), strict=True))
    assert cut(again, texts) == ids


@pytest.mark.model
def test_smollm2(smollm2: Path, titles: list[str], tmp_path: Path) -> None:
    header = read_header(smollm2)
    tokenizer = read_gguf_tokenizer(header)
    assert tokenizer.pre == "smollm"
    write_hf_tokenizer(tokenizer, tmp_path)
    assert hf_cut(tmp_path, titles) == cut(smollm2, titles)
    assert read_hf_tokenizer(tmp_path, len(tokenizer.tokens)) == tokenizer
    again = read_header(write_vocab(tokenizer, tmp_path / "again.gguf"))
    assert tokenizer_fingerprint(again, again.path) == tokenizer_fingerprint(header, header.path)


def test_transformers_add_the_first_token_as_llama_cpp(exported: Callable[[str], Path]) -> None:
    for name, first in (("llama-spm", [1]), ("llama-bpe", [128000]), ("qwen2", [])):
        tokenizer = AutoTokenizer.from_pretrained(exported(name))
        text = tokenizer("Alien", add_special_tokens=False)["input_ids"]
        assert tokenizer("Alien")["input_ids"] == first + text
        assert tokenizer.decode(text) == "Alien"


def test_the_pieces_of_llama_are_those_of_the_original_file(llama_vocabs: Path, tmp_path: Path) -> None:
    llama = read_gguf_tokenizer(read_header(vocab_path(llama_vocabs, "llama-spm")))
    pieces = encode_pieces(llama.tokens, llama.scores, llama.types)
    rest = spm._encode_field(2, _LLAMA_TRAINER) + spm._encode_field(3, _LLAMA_NORMALIZER)
    content = pieces + rest
    assert hashlib.sha256(content).hexdigest() == "9e556afd44213b6bd1be2b850ebbbd98f5481437a8021afaf58ee7fb1818d347"
    (tmp_path / "tokenizer.model").write_bytes(content)
    assert replace(read_hf_tokenizer(tmp_path, 32000), flags=llama.flags) == llama


def test_mistral_is_cut_as_by_sentencepiece(mistral_v1: Path, titles: list[str], tmp_path: Path) -> None:
    truth = sentencepiece.SentencePieceProcessor(model_file=str(mistral_v1))
    expected = truth.encode(titles)
    tokenizer = read_hf_tokenizer(mistral_v1.parent, 32000)
    assert [token.decode() for token in tokenizer.tokens] == truth.id_to_piece(list(range(32000)))
    assert list(tokenizer.scores) == truth.get_score(list(range(32000)))
    assert [i for i, kind in enumerate(tokenizer.types) if kind == BYTE] == [
        i for i in range(32000) if truth.is_byte(i)
    ]
    assert tokenizer.special == {"bos": 1, "eos": 2, "unknown": 0}
    assert cut(write_vocab(tokenizer, tmp_path / "mistral.gguf"), titles) == expected
    write_hf_tokenizer(tokenizer, tmp_path)
    assert hf_cut(tmp_path, titles) == expected
    again = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert again.encode(titles) == expected
    (tmp_path / "tokenizer.model").unlink()
    rebuilt = read_hf_tokenizer(tmp_path, 32000)
    assert rebuilt.scores != tokenizer.scores
    assert cut(write_vocab(rebuilt, tmp_path / "rebuilt.gguf"), titles) == expected


def test_merges_are_all_pairs_that_make_a_piece(small_spm: tuple[Tokenizer, Path]) -> None:
    pieces = {"a": 0.0, "b": 0.0, "ab": -2.0, "ba": -1.0, "aba": -3.0}
    assert merges_from_scores(pieces) == [("b", "a"), ("a", "b"), ("ab", "a"), ("a", "ba")]
    assert hf_cut(small_spm[1], ["alien alien"]) == [[274, 274]]


def test_a_vocabulary_without_a_space_before_the_text(small_spm: tuple[Tokenizer, Path], tmp_path: Path) -> None:
    tokenizer = replace(small_spm[0], flags={"add_space_prefix": False, "add_bos_token": False})
    write_hf_tokenizer(tokenizer, tmp_path)
    assert read_hf_tokenizer(tmp_path, len(tokenizer.tokens)) == tokenizer
    expected = cut(write_vocab(tokenizer, tmp_path / "a.gguf"), ["alien alien"])
    assert hf_cut(tmp_path, ["alien alien"]) == expected
    assert expected == [[273, 274]]
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    assert read_hf_tokenizer(tmp_path, len(tokenizer.tokens)).flags == {"add_space_prefix": False}
    (tmp_path / "tokenizer.model").unlink()
    assert read_hf_tokenizer(tmp_path, len(tokenizer.tokens)).flags == {"add_space_prefix": False}


def test_rows_without_a_token_are_named(small: tuple[Tokenizer, Path], small_spm: tuple[Tokenizer, Path]) -> None:
    for tokenizer, folder in (small, small_spm):
        write_hf_tokenizer(tokenizer, folder)
        n = len(tokenizer.tokens)
        padded = read_hf_tokenizer(folder, n + 3)
        assert padded.tokens[n:] == tuple(b"[PAD%d]" % i for i in range(n, n + 3))
        assert padded.types[n:] == (UNUSED,) * 3
        write_hf_tokenizer(padded, folder)
        assert read_hf_tokenizer(folder, n + 3) == padded
        with pytest.raises(ModelInvalidError, match=rf"{n - 1:,}"):
            read_hf_tokenizer(folder, n - 1)


def test_both_forms_of_merges(small: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = small
    edit(folder, "tokenizer.json", lambda d: d["model"].update(merges=[m.split(" ") for m in d["model"]["merges"]]))
    assert read_hf_tokenizer(folder, len(tokenizer.tokens)) == tokenizer


def test_added_tokens_and_special_ones(small: tuple[Tokenizer, Path]) -> None:
    _, folder = small
    added = {"270": {"content": "<tool>", "special": False}, "271": {"content": "<|im_end|>", "special": True}}
    config = {"added_tokens_decoder": added, "eos_token": {"content": "<|im_end|>"}, "eot_token": "<|im_end|>"}
    template = [{"name": "tools", "template": "x"}, {"name": "default", "template": "{{ y }}"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    (folder / "special_tokens_map.json").write_text('{"unk_token": "<|end|>", "eos_token": "<|end|>"}')
    (folder / "generation_config.json").write_text('{"pad_token_id": 5, "eos_token_id": [3, 4]}')
    tokenizer = read_hf_tokenizer(folder, 272)
    assert tokenizer.tokens[270:] == (b"<tool>", b"<|im_end|>")
    assert tokenizer.types[269:] == (CONTROL, USER_DEFINED, CONTROL)
    assert tokenizer.special == {"eos": 271, "unknown": 269, "padding": 5, "eot": 271}
    assert tokenizer.chat_template == "{{ y }}"
    assert tokenizer.flags == {"add_bos_token": False}
    (folder / "chat_template.jinja").write_text("{{ z }}")
    assert read_hf_tokenizer(folder, 272).chat_template == "{{ z }}"
    write_hf_tokenizer(tokenizer, folder)
    expected = cut(write_vocab(tokenizer, folder / "a.gguf"), ["an<tool>ou"])
    assert hf_cut(folder, ["an<tool>ou"]) == expected
    assert expected[0][1] == 270


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
def test_what_llama_cpp_would_cut_otherwise_is_refused(found: str, small: tuple[Tokenizer, Path]) -> None:
    _, folder = small
    edit(folder, "tokenizer.json", REFUSALS[found])
    with pytest.raises(ModelInvalidError, match=r"tokenizer\.json") as caught:
        read_hf_tokenizer(folder, 272)
    assert found in caught.value.message
    assert caught.value.hint


def test_nfc_is_what_titles_are_in_already(small: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = small
    edit(folder, "tokenizer.json", lambda d: d.update(normalizer={"type": "NFC"}))
    assert read_hf_tokenizer(folder, len(tokenizer.tokens)) == tokenizer


def test_sentencepiece_in_the_dress_of_bpe(small_spm: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = small_spm
    (folder / "tokenizer.model").unlink()
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    before = read_hf_tokenizer(folder, len(tokenizer.tokens))
    edit(folder, "tokenizer.json", lambda d: d.update(normalizer=None, pre_tokenizer=metaspace))
    assert read_hf_tokenizer(folder, len(tokenizer.tokens)) == before
    assert replace(before, scores=tokenizer.scores) == tokenizer
    edit(folder, "tokenizer.json", lambda d: d["pre_tokenizer"].update(split=True))
    with pytest.raises(ModelInvalidError, match="not those of LLaMA or Mistral"):
        read_hf_tokenizer(folder, len(tokenizer.tokens))
    edit(folder, "tokenizer.json", lambda d: d["pre_tokenizer"].update(split=False))
    edit(folder, "tokenizer.json", lambda d: d["model"]["merges"].pop())
    with pytest.raises(ModelInvalidError, match="merges are not those of a SentencePiece model"):
        read_hf_tokenizer(folder, len(tokenizer.tokens))


def test_missing_files(small: tuple[Tokenizer, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    _, folder = small
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").unlink()
    with pytest.raises(ModelInvalidError, match="end-of-sequence"):
        read_hf_tokenizer(folder, 270)
    with pytest.raises(ModelInvalidError, match=r"no tokenizer\.json and no tokenizer\.model"):
        read_hf_tokenizer(tmp_path_factory.mktemp("empty"), 270)
    with pytest.raises(ModelInvalidError, match="claims"):
        read_hf_tokenizer(folder, 1 << 31)
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<no>"}')
    with pytest.raises(ModelInvalidError, match="'<no>' is not in the vocabulary"):
        read_hf_tokenizer(folder, 270)


def test_files_that_would_take_all_memory_are_refused(tmp_path: Path) -> None:
    nested = {"a" * (i + 1): i for i in range(4000)}  # 8 million pairs make a piece
    model = {"type": "BPE", "vocab": nested, "merges": [], "byte_fallback": True}
    for found, text in {
        "more than 128": json.dumps({"model": model}),
        "more values than": '{"a": [' + "[]," * 3_000_000 + "1]}",
        "25,165,824 bytes": '"' + "a" * (25 << 20) + '"',
    }.items():
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(ModelInvalidError, match=found):
            read_hf_tokenizer(tmp_path, 4000)
    (tmp_path / "tokenizer.json").unlink()
    for found, content in {"more pieces": b"\n\0" * 5000, "not a regular file of at most": b"\n\0" * (4 << 20)}.items():
        (tmp_path / "tokenizer.model").write_bytes(content)
        with pytest.raises(ModelInvalidError, match=found):
            read_hf_tokenizer(tmp_path, 4000)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"])
def test_a_pipe_does_not_hang(name: str, small_spm: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = small_spm
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ModelInvalidError):
        read_hf_tokenizer(folder, len(tokenizer.tokens))


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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files(small_spm: tuple[Tokenizer, Path], small: tuple[Tokenizer, Path], data: st.DataObject) -> None:
    """Cut short or with other bytes, each file is read or refused in one sentence."""
    tokenizer, folder = data.draw(st.sampled_from([small, small_spm]))
    path = data.draw(st.sampled_from(sorted(path for path in folder.iterdir() if path.name.startswith("tok"))))
    whole = path.read_bytes()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
        read_or_refuse(folder, len(tokenizer.tokens))
    finally:
        path.write_bytes(whole)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_other_values(small_spm: tuple[Tokenizer, Path], small: tuple[Tokenizer, Path], data: st.DataObject) -> None:
    """Valid JSON with something else in one place is read or refused in one sentence."""
    (small_spm[1] / "tokenizer.model").unlink(missing_ok=True)
    tokenizer, folder = data.draw(st.sampled_from([small, small_spm]))
    path = folder / data.draw(st.sampled_from(["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]))
    whole = path.read_bytes()
    document = place = json.loads(whole)
    key = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
    scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3)
    deeper = st.recursive(
        scalars, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=8), v, max_size=2)
    )
    place[key] = data.draw(deeper)
    try:
        path.write_text(json.dumps(document), "utf-8")
        read_or_refuse(folder, len(tokenizer.tokens))
    finally:
        path.write_bytes(whole)


def read_or_refuse(folder: Path, n_tokens: int) -> None:
    refusal = None
    try:
        assert len(read_hf_tokenizer(folder, n_tokens).tokens) == n_tokens
    except ModelInvalidError as e:
        refusal = e.message
    assert refusal is None or (str(folder) in refusal and "\n" not in refusal)
