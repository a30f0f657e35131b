"""Checks that a tokenizer in a GGUF file is one that llama.cpp loads, and can use on every text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.gguf.header import read_array, read_strings
from genrec_edge.gguf.types import ArrayInfo, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.gguf.types import GgufHeader

TOKENIZERS = ("gpt2", "llama")

_MAX_TOKENS = 1 << 20  # four times as many as the largest vocabulary; what fits into a header takes 400 MB to check
_BYTE_PIECE = 6  # LLAMA_TOKEN_TYPE_BYTE, include/llama.h


def vocabulary_problems(header: GgufHeader) -> Iterator[str]:
    """Yield everything that is wrong with the tokenizer of a model. Reads the vocabulary."""
    metadata = header.metadata
    model = metadata.get("tokenizer.ggml.model")
    if model not in TOKENIZERS:
        yield f"its tokenizer is {shown(model)}, not one of {', '.join(TOKENIZERS)}"
        return
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, ArrayInfo) or tokens.kind != "string" or not tokens.count:
        yield "tokenizer.ggml.tokens is not a list of strings"
        return
    if tokens.count > _MAX_TOKENS:
        yield f"its vocabulary has {tokens.count:,} pieces, more than {_MAX_TOKENS:,}"
        return
    for name, kinds in (("scores", ("float32", "int32")), ("token_type", ("int32",))):
        array = metadata.get(f"tokenizer.ggml.{name}")
        optional = name == "token_type" or model == "gpt2"
        if array is None and optional:
            continue
        if not isinstance(array, ArrayInfo) or array.kind not in kinds or array.count != tokens.count:
            yield f"tokenizer.ggml.{name} is {shown(array)}, not one {kinds[0]} for each of {tokens.count} tokens"
    merges = metadata.get("tokenizer.ggml.merges")
    if model == "gpt2" and not (isinstance(merges, ArrayInfo) and merges.kind == "string"):
        yield f"tokenizer.ggml.merges is {shown(merges)}, not a list of strings"
    yield from _pieces(header, model)


def _pieces(header: GgufHeader, model: object) -> Iterator[str]:
    # llama.cpp ends a piece at a NUL, and gives each empty one a name; twins abort (src/llama-vocab.cpp, load).
    pieces = [
        piece.partition(b"\0")[0] or b"[EMPTY_%d]" % number
        for number, piece in enumerate(read_strings(header, "tokenizer.ggml.tokens"))
    ]
    if len(distinct := set(pieces)) < len(pieces):
        yield f"its vocabulary holds {len(pieces) - len(distinct)} pieces twice"
    # A text that needs a missing one throws through the C interface, which ends the process (byte_to_token).
    if model == "llama":
        missing = sum(not distinct & {b"<0x%02X>" % byte, bytes([byte])} for byte in range(256))
        if missing:
            yield f"its vocabulary has no piece for {missing} of the 256 bytes"
    kinds = header.metadata.get("tokenizer.ggml.token_type")
    if isinstance(kinds, ArrayInfo) and kinds.kind == "int32" and kinds.count == len(pieces):
        are_bytes = np.flatnonzero(read_array(header, "tokenizer.ggml.token_type") == _BYTE_PIECE)
        if odd := sum(len(pieces[i]) != len(b"<0x0A>") for i in are_bytes):
            yield f"{odd} pieces of its vocabulary stand for a byte and are not written like <0x0A>"
    scores = header.metadata.get("tokenizer.ggml.scores")
    if model == "llama" and isinstance(scores, ArrayInfo) and scores.kind == "float32":
        n_bad = int(np.isnan(read_array(header, "tokenizer.ggml.scores")).sum())
        if n_bad:
            yield f"the scores of {n_bad} pieces of its vocabulary are not numbers"
