"""Writes a tokenizer as Hugging Face files, with which transformers tokenizes as llama.cpp does.

For models that exist only as a GGUF. What a GGUF does not record is left out: there is no Unicode normalisation.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from genrec_edge.convert.tokenizer.bpe import bpe_sections, spm_sections
from genrec_edge.convert.tokenizer.hf import MODEL_NAME, SPECIAL_NAME, TOKENIZER_CONFIG_NAME, TOKENIZER_NAME
from genrec_edge.convert.tokenizer.special_tokens import HF_NAMES
from genrec_edge.convert.tokenizer.spm import SentencePiece, encode_model, merges_from_scores
from genrec_edge.convert.tokenizer.types import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Tokenizer,
    padding_token,
)
from genrec_edge.errors import ModelInvalidError
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path


def write_hf_tokenizer(tokenizer: Tokenizer, folder: Path) -> list[Path]:
    """Write `tokenizer.json` and the files beside it into `folder`; return their paths.

    `transformers.AutoTokenizer` loads them. `read_hf_tokenizer` returns the same tokenizer, except that the flag
    `add_bos_token` is always set for byte-level BPE, and `extra` is lost.

    Raises:
        ModelInvalidError: the pre-tokenizer of byte-level BPE has no known form in `tokenizer.json`.
    """
    pieces = _tokens_by_id(tokenizer)
    try:
        documents = {
            TOKENIZER_NAME: _tokenizer_document(tokenizer, pieces),
            TOKENIZER_CONFIG_NAME: _tokenizer_config(tokenizer, pieces),
            SPECIAL_NAME: _special_tokens(tokenizer, pieces),
        }
    except ValueError as e:
        hint = "use a model of LLaMA 1 to 3, SmolLM2, Mistral, Qwen2, Qwen2.5 or Qwen3"
        raise ModelInvalidError(f"the tokenizer cannot be written for transformers: {e}", hint=hint) from e
    files = {name: json.dumps(document, ensure_ascii=False, indent=1) for name, document in documents.items()}
    contents = {name: f"{text}\n".encode() for name, text in files.items()}
    if tokenizer.model == "llama":
        contents[MODEL_NAME] = _sentencepiece_file(tokenizer, len(pieces))
    for name, content in contents.items():
        with atomic_write(folder / name) as file:
            file.write(content)
    return [folder / name for name in contents]


def _tokens_by_id(tokenizer: Tokenizer) -> dict[int, str]:
    """Return the tokens by id, without the padding tokens."""
    rows = enumerate(zip(tokenizer.tokens, tokenizer.types, strict=True))
    return {i: token.decode() for i, (token, kind) in rows if kind != UNUSED or token != padding_token(i)}


def _tokenizer_document(tokenizer: Tokenizer, pieces: dict[int, str]) -> dict[str, Any]:
    if tokenizer.model == "llama":
        normal = {token: tokenizer.scores[i] for i, token in pieces.items() if tokenizer.types[i] == NORMAL}
        unknown = next((token for i, token in pieces.items() if tokenizer.types[i] == UNKNOWN), None)
        sections = spm_sections(adds_space=tokenizer.adds_space, unknown=unknown)
        merges = [f"{left} {right}" for left, right in merges_from_scores(normal)]
    else:
        sections = bpe_sections(tokenizer.pre)
        merges = [merge.decode() for merge in tokenizer.merges]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(i, token, tokenizer.types[i]) for i, token in pieces.items() if _is_added(tokenizer, i)
        ],
        "normalizer": sections["normalizer"],
        "pre_tokenizer": sections["pre_tokenizer"],
        "post_processor": _post_processor(tokenizer, pieces),
        "decoder": sections["decoder"],
        # Added tokens are listed here too: the `tokenizers` package assigns new ids to those that are not.
        "model": {**sections["model"], "vocab": {token: i for i, token in pieces.items()}, "merges": merges},
    }


def _is_added(tokenizer: Tokenizer, token_id: int) -> bool:
    return tokenizer.types[token_id] in {UNKNOWN, CONTROL, USER_DEFINED}


def _added_token(token_id: int, token: str, kind: int) -> dict[str, Any]:
    rules = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": token, **rules, "special": kind != USER_DEFINED}


def _post_processor(tokenizer: Tokenizer, pieces: dict[int, str]) -> dict[str, Any] | None:
    adds_eos = tokenizer.flags.get("add_eos_token", False)
    before = [tokenizer.special["bos"]] if tokenizer.adds_bos and "bos" in tokenizer.special else []
    after = [tokenizer.special["eos"]] if adds_eos else []
    if not before and not after:
        return None

    def sequence(letter: str, type_id: int) -> list[dict[str, Any]]:
        tokens = [[{"SpecialToken": {"id": pieces[i], "type_id": type_id}} for i in ids] for ids in (before, after)]
        return [*tokens[0], {"Sequence": {"id": letter, "type_id": type_id}}, *tokens[1]]

    return {
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": [*sequence("A", 0), *sequence("B", 1)],
        "special_tokens": {pieces[i]: {"id": pieces[i], "ids": [i], "tokens": [pieces[i]]} for i in before + after},
    }


def _special_tokens(tokenizer: Tokenizer, pieces: dict[int, str]) -> dict[str, str]:
    return {f"{HF_NAMES[name]}_token": pieces[i] for name, i in tokenizer.special.items() if i in pieces}


def _tokenizer_config(tokenizer: Tokenizer, pieces: dict[int, str]) -> dict[str, Any]:
    flags = {name.replace("add_space_prefix", "add_prefix_space"): value for name, value in tokenizer.flags.items()}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes everything from tokenizer.json
        "clean_up_tokenization_spaces": False,
        **_special_tokens(tokenizer, pieces),
        **flags,
    }
    if tokenizer.chat_template is not None:
        config["chat_template"] = tokenizer.chat_template
    return config


def _sentencepiece_file(tokenizer: Tokenizer, n_pieces: int) -> bytes:
    """Return the content of `tokenizer.model`; padding tokens, which are last in every model, are left out."""
    model = SentencePiece(
        tokenizer.tokens[:n_pieces],
        tokenizer.scores[:n_pieces],
        tokenizer.types[:n_pieces],
        {name: i for name, i in tokenizer.special.items() if i < n_pieces},
        tokenizer.adds_space,
    )
    return encode_model(model)
