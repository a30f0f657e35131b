"""A tokenizer as the metadata of a GGUF holds it: pieces with types, and scores or merges.

The common form between Hugging Face files and GGUF; reading and writing the files is done elsewhere.
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
"""The special tokens that are modelled, by the middle of their GGUF keys: `tokenizer.ggml.<name>_token_id`."""

SPACE = "\u2581"
"""How SentencePiece spells a space."""

MAX_TOKENS = 1 << 19
"""Twice the largest vocabulary in use (Gemma, 262,144)."""
_MAX_TOKEN_BYTES = 1024  # the longest pieces in use are 128 spaces


@dataclass(frozen=True, slots=True)
class MetadataField:
    """One key of a GGUF's metadata; `type` and `item_type` (of an array) are numbers of `gguf.GGUFValueType`."""

    key: str
    value: Any
    type: int
    item_type: int | None = None


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A vocabulary and what decides how text is cut into its pieces.

    Attributes:
        model: "llama" is SentencePiece (scores, bytes as <0x0A>); "gpt2" is byte-level BPE (merges).
        pre: llama.cpp's name of the rules that cut text before merging, such as "llama-bpe"; "default" for "llama";
            "" in a GGUF that does not say.
        tokens: one for each row of the embedding, as bytes: the piece in SentencePiece spelling, or the printable
            stand-ins of byte-level BPE, in UTF-8 both.
        types: one for each token: `NORMAL` and so on.
        scores: one for each token, float32 values ("llama"; a GGUF of a "gpt2" may hold some that mean nothing).
        merges: "left right", best first ("gpt2"; likewise).
        special: ids of special tokens.
        flags: `add_bos_token`, `add_eos_token`, `add_space_prefix`, where they are known. llama.cpp's defaults: True,
            False, True for "llama"; `add_bos_token` is True for "llama-bpe" and False for other "gpt2".
        chat_template: as data; nothing here runs it.
        extra: what else a GGUF says of its tokenizer, kept for the next GGUF.
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
    """Return the name that upstream's converter gives to a row of the embedding that is no token."""
    return b"[PAD%d]" % token_id


def check_vocabulary(tokenizer: Tokenizer, path: Path) -> None:
    """Check that llama.cpp neither refuses nor aborts on a vocabulary; `path` is where it was found.

    Raises:
        ModelInvalidError: it would; the message lists everything that was found.
    """
    if problems := [*_tokens(tokenizer), *_merging(tokenizer), *_special(tokenizer)]:
        message = f"{path} holds no vocabulary for llama.cpp: {'; '.join(problems)}"
        raise ModelInvalidError(message, hint="fetch the model again")


def _tokens(tokenizer: Tokenizer) -> Iterator[str]:
    tokens = tokenizer.tokens
    if not 0 < len(tokens) <= MAX_TOKENS:
        yield f"it has {len(tokens):,} tokens, where 1 to {MAX_TOKENS:,} are possible"
    # Duplicates abort, and a string ends at its first NUL (src/llama-vocab.cpp, load); empty pieces get names there.
    if twice := [token for token, n in Counter(tokens).items() if n > 1 and token]:
        yield f"{len(twice)} tokens come twice, such as {reprlib.repr(twice[0])}"
    odd = [token for token in tokens if b"\0" in token or len(token) > _MAX_TOKEN_BYTES or not _is_text(token)]
    if odd:
        yield f"{len(odd)} tokens are no text or far too long, such as {reprlib.repr(odd[0])}"
    if len(tokenizer.types) != len(tokens) or not set(tokenizer.types) <= set(range(NORMAL, BYTE + 1)):
        yield "the types do not fit the tokens"


def _merging(tokenizer: Tokenizer) -> Iterator[str]:
    n_scores = len(tokenizer.tokens) if tokenizer.scores or tokenizer.model == "llama" else 0
    if len(tokenizer.scores) != n_scores or not all(map(math.isfinite, tokenizer.scores)):
        yield "the scores are not one number for each token"
    if tokenizer.model == "llama":
        # A text that needs a missing one throws through the C interface, which ends the process (byte_to_token).
        missing = {b"<0x%02X>" % byte for byte in range(256)} - set(tokenizer.tokens)
        if missing:
            yield f"there is no token for {len(missing)} of the 256 bytes"
    elif not tokenizer.merges:
        yield "there are no merges"
    odd = [merge for merge in tokenizer.merges if merge.find(b" ", 1) < 0 or merge.endswith(b" ")]
    if odd:
        yield f"{len(odd)} merges are no pairs, such as {reprlib.repr(odd[0])}"


def _special(tokenizer: Tokenizer) -> Iterator[str]:
    for name, token_id in tokenizer.special.items():
        if not 0 <= token_id < len(tokenizer.tokens):
            yield f"the {name} token has the id {token_id}"
    for name in ("bos", "eos"):  # without an id llama.cpp aborts when it has to add one
        if tokenizer.flags.get(f"add_{name}_token") and name not in tokenizer.special:
            yield f"a {name} token is to be added, and there is none"


def _is_text(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True
