"""Reads the tokenizer of a Hugging Face folder: `tokenizer.json` or `tokenizer.model`, and the small files beside it.

Tokenizers that llama.cpp supports are recognised by their structure; others are refused.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genrec_edge.convert.hf_json import CONFIG_NAME, read_json
from genrec_edge.convert.tokenizer.bpe import detect_pre, spm_adds_space, unsupported_settings
from genrec_edge.convert.tokenizer.special_tokens import (
    post_processor_flags,
    read_chat_template,
    special_ids,
    tokenizer_flags,
)
from genrec_edge.convert.tokenizer.spm import read_model, scores_from_merges
from genrec_edge.convert.tokenizer.types import (
    BYTE,
    CONTROL,
    MAX_TOKENS,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Tokenizer,
    check_vocabulary,
    padding_token,
)
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
SPECIAL_NAME = "special_tokens_map.json"
MODEL_NAME = "tokenizer.model"

_MAX_BYTES = 24 << 20  # LLaMA 3: 17 MB
_PADDING_SCORE = -10000.0  # as in llama.cpp's converter; text never gets these tokens
_ADDED_SCORE = -1000.0
_HINT = "fetch the checkpoint again, or use one of LLaMA 1 to 3, SmolLM2, Mistral, Qwen2, Qwen2.5, Qwen3"


@dataclass(slots=True)
class _Vocabulary:
    """A vocabulary while it is read: token, type and score by id, and the settings of the whole."""

    tokens: dict[int, str]
    types: dict[int, int]
    scores: dict[int, float] = field(default_factory=dict)
    merges: tuple[bytes, ...] = ()
    pre: str = "default"
    special: Mapping[str, int] = field(default_factory=dict)
    adds_space: bool = True


def read_hf_tokenizer(folder: Path, vocab_size: int) -> Tokenizer:
    """Return the tokenizer of the checkpoint in `folder`, with one token for each of `vocab_size` rows. Read-only.

    Rows without a token get a padding token, which text never contains. transformers recognises special tokens inside a
    title; llama.cpp treats them as text.

    Raises:
        ModelInvalidError: the tokenizer is missing or damaged, or llama.cpp would tokenize differently.
    """
    if not 0 < vocab_size <= MAX_TOKENS:
        message = f"{folder / CONFIG_NAME} claims {vocab_size:,} tokens, expected 1 to {MAX_TOKENS:,}"
        raise ModelInvalidError(message, hint="fetch the checkpoint again")
    path = folder / TOKENIZER_NAME
    try:
        if not path.exists():
            path = folder / MODEL_NAME
            return _tokenizer(folder, path, _from_model(path, vocab_size), {}, vocab_size)
        document = read_json(path, _MAX_BYTES)
        if _falls_back_to_bytes(document) and (folder / MODEL_NAME).exists():
            vocabulary = _from_model(folder / MODEL_NAME, vocab_size)  # has the original scores
        else:
            vocabulary = _from_json(document)
        return _tokenizer(folder, path, vocabulary, document, vocab_size)
    except (ValueError, OSError) as e:
        raise ModelInvalidError(f"{path} cannot be used: {e}", hint=_HINT) from e


def _from_model(path: Path, vocab_size: int) -> _Vocabulary:
    if not path.exists():
        message = f"{path.parent} has no {TOKENIZER_NAME} and no {MODEL_NAME}"
        raise ModelInvalidError(message, hint="fetch the checkpoint again, with its tokenizer")
    model = read_model(path, vocab_size)
    return _Vocabulary(
        tokens={i: piece.decode() for i, piece in enumerate(model.pieces)},
        types=dict(enumerate(model.types)),
        scores=dict(enumerate(model.scores)),
        special=model.special,
        adds_space=model.adds_space,
    )


def _from_json(document: Mapping[str, Any]) -> _Vocabulary:
    model = document.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "BPE":
        raise ValueError(f"its model is {reprlib.repr(kind)}, not 'BPE'")
    if problems := [*unsupported_settings(model)]:
        raise ValueError(", ".join(problems))
    vocab, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, dict) or not all(type(n) is int for n in vocab.values()) or not isinstance(merges, list):
        raise ValueError("it lacks a vocabulary with ids, or merges")
    if len(tokens := {token_id: token for token, token_id in vocab.items()}) < len(vocab):
        raise ValueError("two tokens have the same id")
    pairs = [_merge_pair(merge, vocab) for merge in merges]
    if _falls_back_to_bytes(document):
        return _sentencepiece_vocabulary(document, tokens, pairs)
    lines = tuple(f"{left} {right}".encode() for left, right in pairs)
    return _Vocabulary(tokens, dict.fromkeys(tokens, NORMAL), merges=lines, pre=detect_pre(document))


def _falls_back_to_bytes(document: Mapping[str, Any]) -> bool:
    """Return whether a `tokenizer.json` is a SentencePiece model written as BPE."""
    model = document.get("model")
    return isinstance(model, dict) and model.get("byte_fallback") is True


def _merge_pair(merge: object, vocab: Mapping[str, int]) -> tuple[str, str]:
    """Return the two tokens of a merge, "a b" or ["a", "b"].

    Raises:
        ValueError: one of them, or what they merge into, is not in the vocabulary.
    """
    match merge.split(" ") if isinstance(merge, str) else merge:
        case [str(left), str(right)] if left in vocab and right in vocab and left + right in vocab:
            if " " not in left + right:
                return left, right
    raise ValueError(f"the merge {reprlib.repr(merge)} does not join two tokens into a third")


def _sentencepiece_vocabulary(
    document: Mapping[str, Any], tokens: Mapping[int, str], pairs: list[tuple[str, str]]
) -> _Vocabulary:
    added = {token_id for token_id, _, _ in _parse_added(document.get("added_tokens", []), "id")}
    unknown = document["model"].get("unk_token")
    types = {token_id: _token_type(token, token_id in added, unknown) for token_id, token in tokens.items()}
    scores = scores_from_merges([token for token_id, token in tokens.items() if types[token_id] == NORMAL], pairs)
    return _Vocabulary(
        tokens=dict(tokens),
        types=types,
        scores={token_id: scores.get(token, 0.0) for token_id, token in tokens.items()},
        adds_space=spm_adds_space(document),
    )


def _token_type(token: str, is_added: bool, unknown: object) -> int:
    kind: int = CONTROL if is_added else NORMAL
    if token == unknown:
        kind = UNKNOWN
    elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        kind = BYTE
    return kind


def _tokenizer(
    folder: Path, path: Path, vocabulary: _Vocabulary, document: Mapping[str, Any], vocab_size: int
) -> Tokenizer:
    config = _read_optional(folder / TOKENIZER_CONFIG_NAME)
    for token_id, content, is_special in _added_tokens(folder, document, config):
        _add_token(vocabulary, token_id, content, is_special)
    if outside := [token_id for token_id in vocabulary.tokens if not 0 <= token_id < vocab_size]:
        raise ValueError(f"the token ids go up to {max(outside):,}, and {CONFIG_NAME} has {vocab_size:,} tokens")
    is_bpe = bool(vocabulary.merges)
    rows = range(vocab_size)
    tokens = tuple(vocabulary.tokens[i].encode() if i in vocabulary.tokens else padding_token(i) for i in rows)
    named = {
        **_read_optional(folder / SPECIAL_NAME),
        **{key: value for key, value in config.items() if value is not None},
    }
    numbered = [_read_optional(folder / CONFIG_NAME), _read_optional(folder / "generation_config.json")]
    ids = {token: i for i, token in enumerate(tokens)}
    flags = post_processor_flags(document.get("post_processor"))
    tokenizer = Tokenizer(
        model="gpt2" if is_bpe else "llama",
        pre=vocabulary.pre,
        tokens=tokens,
        types=tuple(vocabulary.types.get(i, UNUSED) for i in rows),
        scores=() if is_bpe else tuple(vocabulary.scores.get(i, _PADDING_SCORE) for i in rows),
        merges=vocabulary.merges,
        special=special_ids(named, numbered, vocabulary.special, ids),
        flags=tokenizer_flags(config, flags, adds_space=None if is_bpe else vocabulary.adds_space),
        chat_template=read_chat_template(folder, config),
    )
    check_vocabulary(tokenizer, path)
    return tokenizer


def _add_token(vocabulary: _Vocabulary, token_id: int, content: str, is_special: bool) -> None:
    """Enter an added token into the vocabulary, unless it is there already with a special type."""
    kept_types = {UNKNOWN, CONTROL, BYTE} if is_special else {UNKNOWN, BYTE}
    if vocabulary.tokens.get(token_id) == content and vocabulary.types[token_id] in kept_types:
        return
    # llama.cpp searches the text for these before it escapes spaces.
    vocabulary.tokens[token_id] = content if is_special else content.replace(SPACE, " ")
    vocabulary.types[token_id] = CONTROL if is_special else USER_DEFINED
    vocabulary.scores[token_id] = _ADDED_SCORE


def _added_tokens(
    folder: Path, document: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[tuple[int, str, bool]]:
    """Yield id, content and whether it is special of each added token, in rising priority of the sources."""
    old = _read_optional(folder / "added_tokens.json")
    yield from _parse_added([{"id": token_id, "content": token} for token, token_id in old.items()], "id")
    yield from _parse_added(document.get("added_tokens", []), "id")
    decoder = config.get("added_tokens_decoder", {})
    if not isinstance(decoder, dict) or not all(isinstance(value, dict) for value in decoder.values()):
        raise ValueError(f"{TOKENIZER_CONFIG_NAME} has an added_tokens_decoder that is not an object of tokens")
    listed = [{**value, "id": int(key) if key.isdecimal() and len(key) < 10 else key} for key, value in decoder.items()]
    yield from _parse_added(listed, "id")


def _parse_added(tokens: Any, key: str) -> Iterator[tuple[int, str, bool]]:
    for token in tokens if isinstance(tokens, list) else [tokens]:
        match token:
            case {"content": str(content)} if type(token.get(key)) is int and content:
                yield token[key], content, token.get("special") is True
            case _:
                raise ValueError(f"{reprlib.repr(token)} is not an added token")


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path, _MAX_BYTES) if path.exists() else {}
