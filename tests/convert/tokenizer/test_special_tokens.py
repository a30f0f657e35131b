"""Special tokens, added tokens and chat templates from the small files of a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.hf import read_hf_tokenizer
from genrec_edge.convert.tokenizer.types import CONTROL, USER_DEFINED, Tokenizer
from tests.support.tokenizers import llama_cpp_ids, transformers_ids, write_vocab

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_added_tokens_and_special_ones(tiny_bpe: tuple[Tokenizer, Path]) -> None:
    _, folder = tiny_bpe
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
    expected = llama_cpp_ids(write_vocab(tokenizer, folder / "a.gguf"), ["an<tool>ou"])
    assert transformers_ids(folder, ["an<tool>ou"]) == expected
    assert expected[0][1] == 270
