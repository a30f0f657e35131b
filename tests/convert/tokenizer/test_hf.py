"""The tokenizer of a Hugging Face folder: rows without a token, missing files, damage."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.hf import read_hf_tokenizer
from genrec_edge.convert.tokenizer.types import UNUSED, Tokenizer
from genrec_edge.errors import ModelInvalidError
from tests.support.tokenizers import edit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_rows_without_a_token_are_named(tiny_bpe: tuple[Tokenizer, Path], tiny_spm: tuple[Tokenizer, Path]) -> None:
    for tokenizer, folder in (tiny_bpe, tiny_spm):
        write_hf_tokenizer(tokenizer, folder)
        n = len(tokenizer.tokens)
        padded = read_hf_tokenizer(folder, n + 3)
        assert padded.tokens[n:] == tuple(b"[PAD%d]" % i for i in range(n, n + 3))
        assert padded.types[n:] == (UNUSED,) * 3
        write_hf_tokenizer(padded, folder)
        assert read_hf_tokenizer(folder, n + 3) == padded
        with pytest.raises(ModelInvalidError, match=rf"{n - 1:,}"):
            read_hf_tokenizer(folder, n - 1)


def test_both_forms_of_merges(tiny_bpe: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = tiny_bpe
    edit(folder, "tokenizer.json", lambda d: d["model"].update(merges=[m.split(" ") for m in d["model"]["merges"]]))
    assert read_hf_tokenizer(folder, len(tokenizer.tokens)) == tokenizer


def test_sentencepiece_in_the_dress_of_bpe(tiny_spm: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = tiny_spm
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


def test_missing_files(tiny_bpe: tuple[Tokenizer, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    _, folder = tiny_bpe
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
def test_a_pipe_does_not_hang(name: str, tiny_spm: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = tiny_spm
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ModelInvalidError):
        read_hf_tokenizer(folder, len(tokenizer.tokens))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files(tiny_spm: tuple[Tokenizer, Path], tiny_bpe: tuple[Tokenizer, Path], data: st.DataObject) -> None:
    """Cut short or with other bytes, each file is read or refused in one sentence."""
    tokenizer, folder = data.draw(st.sampled_from([tiny_bpe, tiny_spm]))
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
def test_other_values(tiny_spm: tuple[Tokenizer, Path], tiny_bpe: tuple[Tokenizer, Path], data: st.DataObject) -> None:
    """Valid JSON with something else in one place is read or refused in one sentence."""
    (tiny_spm[1] / "tokenizer.model").unlink(missing_ok=True)
    tokenizer, folder = data.draw(st.sampled_from([tiny_bpe, tiny_spm]))
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
