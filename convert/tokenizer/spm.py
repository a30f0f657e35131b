"""SentencePiece: the file `tokenizer.model`, and how its scores and the merges of a `tokenizer.json` become each other.

The file is a protocol buffer; the few fields that decide how text is cut are read and written here, so that neither the
`sentencepiece` nor the `protobuf` package is needed.

Source: the messages ModelProto, TrainerSpec and NormalizerSpec of `sentencepiece_model.proto`, as the `sentencepiece`
package 0.2 writes them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from genrec_edge.convert.tokenizer.types import BYTE, MAX_TOKENS, NORMAL
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_MAX_BYTES = 6 << 20  # Gemma, with 256,000 pieces, has 4.2 MB
_MAX_PIECE = 128  # characters; LLaMA's longest piece has 16
_MAX_SPLITS = 4 << 20  # LLaMA has 0.2 million, the largest vocabularies some 2 million
_MAX_MERGES = 700_000  # LLaMA has 61,249, Gemma 580,604
_BPE = 2  # TrainerSpec.model_type
_FLOAT = struct.Struct("<f")
_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_ID_FIELDS = {"unknown": 40, "bos": 41, "eos": 42, "padding": 43}
_ID_DEFAULTS = {"unknown": 0, "bos": 1, "eos": 2, "padding": -1}
_PIECE_FIELDS = {"unknown": 45, "bos": 46, "eos": 47}

ProtobufValue = int | float | bytes


@dataclass(frozen=True, slots=True)
class SentencePiece:
    """What a `tokenizer.model` says; `special` has the ids of "bos", "eos", "unknown" and "padding", as far as set."""

    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    special: Mapping[str, int]
    adds_space: bool


def read_model(path: Path, vocab_size: int) -> SentencePiece:
    """Read a `tokenizer.model` of at most `vocab_size` pieces. Read-only.

    Raises:
        ModelInvalidError: damaged, too many pieces, or cut in a way that llama.cpp does not know.
    """
    hint = "fetch the checkpoint again"
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:  # a pipe would wait for its other end
        raise ModelInvalidError(f"{path} is no file of at most {_MAX_BYTES:,} bytes", hint=hint)
    pieces: list[bytes] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, ProtobufValue] = {}
    normalizer: dict[int, ProtobufValue] = {}
    try:
        for number, value in _message(path.read_bytes()):
            if number == _PIECE:
                fields = dict(_message(_bytes(value)))
                pieces.append(_bytes(fields.get(1, b"")))
                scores.append(float(fields.get(2, 0.0)))
                types.append(_int(fields.get(3, NORMAL)))
                if len(pieces) > min(vocab_size, MAX_TOKENS):
                    raise ModelInvalidError(f"{path} has more pieces than the {vocab_size:,} of config.json", hint=hint)
            elif number == _TRAINER:
                trainer = dict(_message(_bytes(value)))
            elif number == _NORMALIZER:
                normalizer = dict(_message(_bytes(value)))
    except (ValueError, IndexError, struct.error) as e:
        raise ModelInvalidError(f"{path} is no SentencePiece model: {e}", hint=hint) from e
    if problems := [*_not_like_llama(trainer, normalizer)]:
        message = f"{path} cuts text in a way that llama.cpp does not: {', '.join(problems)}"
        raise ModelInvalidError(message, hint="use a model with the tokenizer of LLaMA or Mistral")
    ids = {name: _signed(trainer.get(number, _ID_DEFAULTS[name])) for name, number in _ID_FIELDS.items()}
    special = {name: token_id for name, token_id in ids.items() if 0 <= token_id < len(pieces)}
    return SentencePiece(tuple(pieces), tuple(scores), tuple(types), special, normalizer.get(3, 1) == 1)


def encode_pieces(pieces: Sequence[bytes], scores: Sequence[float], types: Sequence[int]) -> bytes:
    """Return the part of a `tokenizer.model` that holds the pieces, byte for byte as the trainer writes it."""
    rows = zip(pieces, scores, types, strict=True)
    return b"".join(
        _field(_PIECE, _field(1, piece) + _field(2, score) + (_field(3, kind) if kind != NORMAL else b""))
        for piece, score, kind in rows
    )


def encode_model(model: SentencePiece) -> bytes:
    """Return a `tokenizer.model` with these pieces and no word of how they were trained."""
    special = {name: model.special.get(name, -1) for name in _ID_FIELDS}
    trainer = [
        _field(3, _BPE),
        _field(4, len(model.pieces)),
        _field(35, int(BYTE in model.types)),
        *(_field(number, special[name]) for name, number in _ID_FIELDS.items()),
        *(_field(number, model.pieces[special[name]]) for name, number in _PIECE_FIELDS.items() if special[name] >= 0),
    ]
    normalizer = _field(1, b"identity") + _field(3, int(model.adds_space)) + _field(4, 0)
    pieces = encode_pieces(model.pieces, model.scores, model.types)
    return pieces + _field(_TRAINER, b"".join(trainer)) + _field(_NORMALIZER, normalizer)


def merges_from_scores(pieces: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the merges that build `pieces` (with their scores) as SentencePiece does: best score first.

    Raises:
        ValueError: the pieces are far longer than those of any vocabulary, or fit together in far more ways.
    """
    if sum(map(len, pieces)) > _MAX_SPLITS or any(len(piece) > _MAX_PIECE for piece in pieces):
        raise ValueError(f"its pieces have more than {_MAX_PIECE} or, together, more than {_MAX_SPLITS:,} characters")
    pairs = (
        (-score, -i, piece[:i], piece[i:])
        for piece, score in pieces.items()
        for i in range(1, len(piece))
        if piece[:i] in pieces and piece[i:] in pieces
    )
    ranked = list(islice(pairs, _MAX_MERGES + 1))
    if len(ranked) > _MAX_MERGES:
        raise ValueError(f"its pieces fit together in more than {_MAX_MERGES:,} ways")
    # Of the merges to one piece, the one with the longest left part first, as in transformers' generate_merges.
    ranked.sort(key=lambda merge: merge[:2])
    return [(left, right) for _, _, left, right in ranked]


def scores_from_merges(pieces: Sequence[str], merges: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return scores with which SentencePiece cuts text as `merges` do; pieces that no merge builds come last.

    llama.cpp joins any two neighbours that are a piece together, and the better piece first; merges can say other
    things. A hundredth of them may: early converters forgot those of a piece.

    Raises:
        ValueError: the merges are not those of a SentencePiece model.
    """
    built: dict[str, float] = {}
    n_again, last = 0, ""
    for left, right in merges:
        piece = left + right
        n_again += piece in built and piece != last  # its merges have another one's between them
        built.setdefault(piece, -float(len(built)))
        last = piece
    scores = {piece: built.get(piece, -float(len(built))) for piece in pieces}
    n_missing = len(set(merges_from_scores(scores)) ^ set(merges))
    if 100 * (n_missing + n_again) > len(merges):
        raise ValueError(
            f"{n_missing + n_again:,} of its {len(merges):,} merges are not those of a SentencePiece model"
        )
    return scores


def _not_like_llama(trainer: Mapping[int, ProtobufValue], normalizer: Mapping[int, ProtobufValue]) -> Iterator[str]:
    if trainer.get(3, 1) != _BPE:
        yield "its model type is not BPE"
    if trainer.get(24, 0) != 0:
        yield "spaces end words"
    if normalizer.get(2, b"") != b"":
        yield f"it normalises text ({normalizer.get(1)!r})"
    if normalizer.get(4, 1) != 0:
        yield "it removes extra spaces"
    if normalizer.get(5, 1) != 1:
        yield "it does not escape spaces"


def _message(data: bytes) -> Iterator[tuple[int, ProtobufValue]]:
    """Yield number and value of each field. Every step moves on, so a message costs at most its length."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, position = _varint(data, position)
        if size is None or position + size > len(data):
            raise ValueError(f"damaged at byte {position:,} of {len(data):,}")
        raw = data[position : position + size]
        position += size
        yield key >> 3, _FLOAT.unpack(raw)[0] if kind == 5 else raw


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number without end at byte {position:,}")


def _field(number: int, value: ProtobufValue) -> bytes:
    if isinstance(value, bytes):
        return _number(number << 3 | 2) + _number(len(value)) + value
    if isinstance(value, float):
        return _number(number << 3 | 5) + _FLOAT.pack(value)
    return _number(number << 3) + _number(value & (1 << 64) - 1)


def _number(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _signed(value: ProtobufValue) -> int:
    value = _int(value) & (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _int(value: ProtobufValue) -> int:
    if not isinstance(value, int):
        raise ValueError("a number is missing")  # noqa: TRY004 - of the file, not of the program
    return value


def _bytes(value: ProtobufValue) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a text is missing")  # noqa: TRY004 - of the file, not of the program
    return value
