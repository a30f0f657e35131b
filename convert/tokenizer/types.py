"""A tokenizer as in the metadata of a GGUF: tokens with types, and scores or merges.

This is the common form of Hugging Face files and GGUF; other modules read and write the files.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Source: include/llama.h, enum llama_token_type (llama.cpp 0c1e57098).
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

SpecialToken = Literal["bos", "eos", "unknown", "padding", "eot"]
"""The supported special tokens. Their GGUF keys are `tokenizer.ggml.<name>_token_id`."""

SPACE = "\u2581"
"""The character that stands for a space in SentencePiece."""

MAX_TOKENS = 1 << 19
"""Twice the largest vocabulary in use (Gemma, 262,144)."""
_MAX_TOKEN_BYTES = 1024  # the longest pieces in use are 128 spaces


@dataclass(frozen=True, slots=True)
class MetadataField:
    """One key of a GGUF's metadata. `type`, and `item_type` for an array, are numbers of `gguf.GGUFValueType`."""

    key: str
    value: Any
    type: int
    item_type: int | None = None


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A vocabulary and the rules by which text is tokenized with it.

    Attributes:
        model: "llama" is SentencePiece (scores, bytes as <0x0A>); "gpt2" is byte-level BPE (merges).
        pre: llama.cpp's name of the pre-tokenizer, such as "llama-bpe"; "default" for "llama"; "" if a GGUF lacks it.
        tokens: one for each row of the embedding, as UTF-8: SentencePiece pieces, or tokens of byte-level BPE in its
            printable alphabet.
        types: one for each token: `NORMAL` and so on.
        scores: one for each token, float32 values ("llama"; a GGUF with "gpt2" may have some that are not used).
        merges: "left right", best first ("gpt2"; likewise).
        special: ids of special tokens.
        flags: `add_bos_token`, `add_eos_token`, `add_space_prefix`, where they are known. llama.cpp's defaults: True,
            False, True for "llama"; `add_bos_token` is True for "llama-bpe" and False for other "gpt2".
        chat_template: the template as text; it is never run here.
        extra: other tokenizer keys of a GGUF, kept for the next GGUF.
    """

    model: Literal["llama", "gpt2"]
    pre: str
    tokens: tuple[bytes, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[bytes, ...] = ()
    special: Mapping[SpecialToken, int] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    chat_template: str | None = None
    extra: tuple[MetadataField, ...] = ()

    @property
    def adds_bos(self) -> bool:
        """Whether llama.cpp puts the beginning-of-sequence token before a text."""
        return self.flags.get("add_bos_token", self.model == "llama" or self.pre == "llama-bpe")

    @property
    def adds_space(self) -> bool:
        """Whether llama.cpp puts a space before a text."""
        return self.model == "llama" and self.flags.get("add_space_prefix", True)


def padding_token(token_id: int) -> bytes:
    """Return the token that llama.cpp's converter gives to a row of the embedding without a token."""
    return b"[PAD%d]" % token_id


def check_vocabulary(tokenizer: Tokenizer, path: Path) -> None:
    """Check that llama.cpp neither refuses a vocabulary nor aborts on it. `path` is the file, for the message.

    Raises:
        ModelInvalidError: it would; the message lists all problems.
    """
    if problems := [*_token_problems(tokenizer), *_model_problems(tokenizer), *_special_problems(tokenizer)]:
        message = f"llama.cpp cannot use the vocabulary of {path}: {'; '.join(problems)}"
        raise ModelInvalidError(message, hint="fetch the model again")


def _token_problems(tokenizer: Tokenizer) -> Iterator[str]:
    tokens = tokenizer.tokens
    if not 0 < len(tokens) <= MAX_TOKENS:
        yield f"it has {len(tokens):,} tokens, expected 1 to {MAX_TOKENS:,}"
    # Duplicates abort, and a string ends at its first NUL (src/llama-vocab.cpp, load), which renames empty tokens.
    if duplicates := [token for token, n in Counter(tokens).items() if n > 1 and token]:
        yield f"{len(duplicates)} tokens occur more than once, such as {reprlib.repr(duplicates[0])}"
    invalid = [token for token in tokens if b"\0" in token or len(token) > _MAX_TOKEN_BYTES or not _is_utf8(token)]
    if invalid:
        yield f"{len(invalid)} tokens are not UTF-8 text or too long, such as {reprlib.repr(invalid[0])}"
    if len(tokenizer.types) != len(tokens) or not set(tokenizer.types) <= set(range(NORMAL, BYTE + 1)):
        yield "the types do not match the tokens"


def _model_problems(tokenizer: Tokenizer) -> Iterator[str]:
    has_scores = bool(tokenizer.scores) or tokenizer.model == "llama"
    n_scores = len(tokenizer.tokens) if has_scores else 0
    if len(tokenizer.scores) != n_scores or not all(map(math.isfinite, tokenizer.scores)):
        yield "the scores are not one finite number for each token"
    if tokenizer.model == "llama":
        # Text that needs a missing one raises a C++ exception across the C interface, which ends the process
        # (byte_to_token).
        missing = {b"<0x%02X>" % byte for byte in range(256)} - set(tokenizer.tokens)
        if missing:
            yield f"{len(missing)} of the 256 byte tokens are missing"
    elif not tokenizer.merges:
        yield "it has no merges"
    invalid = [merge for merge in tokenizer.merges if merge.find(b" ", 1) < 0 or merge.endswith(b" ")]
    if invalid:
        yield f"{len(invalid)} merges are not pairs, such as {reprlib.repr(invalid[0])}"


def _special_problems(tokenizer: Tokenizer) -> Iterator[str]:
    for name, token_id in tokenizer.special.items():
        if not 0 <= token_id < len(tokenizer.tokens):
            yield f"the {name} token has the id {token_id}, which is not in the vocabulary"
    for name in ("bos", "eos"):  # llama.cpp aborts when it has to add a token without an id
        if tokenizer.flags.get(f"add_{name}_token") and name not in tokenizer.special:
            yield f"add_{name}_token is set, and it has no {name} token"


def _is_utf8(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True
