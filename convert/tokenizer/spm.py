"""SentencePiece: reads and writes `tokenizer.model`, and converts between its scores and merges of a `tokenizer.json`.

The file is a protocol buffer. The few fields that decide the tokenization are read and written here, so that neither
the `sentencepiece` nor the `protobuf` package is needed.

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
    """The content of a `tokenizer.model`; `special` has the ids of "bos", "eos", "unknown" and "padding" where set."""

    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    special: Mapping[str, int]
    adds_space: bool


def read_model(path: Path, vocab_size: int) -> SentencePiece:
    """Read a `tokenizer.model` of at most `vocab_size` pieces. Read-only.

    Raises:
        ModelInvalidError: the file is damaged, has too many pieces, or tokenizes differently from llama.cpp.
    """
    hint = "fetch the checkpoint again"
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:  # reading a pipe would block
        raise ModelInvalidError(f"{path} is not a regular file of at most {_MAX_BYTES:,} bytes", hint=hint)
    pieces: list[bytes] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, ProtobufValue] = {}
    normalizer: dict[int, ProtobufValue] = {}
    try:
        for number, value in _decode_fields(path.read_bytes()):
            if number == _PIECE:
                fields = dict(_decode_fields(_as_bytes(value)))
                pieces.append(_as_bytes(fields.get(1, b"")))
                scores.append(float(fields.get(2, 0.0)))
                types.append(_as_int(fields.get(3, NORMAL)))
                if len(pieces) > min(vocab_size, MAX_TOKENS):
                    raise ModelInvalidError(f"{path} has more pieces than the {vocab_size:,} of config.json", hint=hint)
            elif number == _TRAINER:
                trainer = dict(_decode_fields(_as_bytes(value)))
            elif number == _NORMALIZER:
                normalizer = dict(_decode_fields(_as_bytes(value)))
    except (ValueError, IndexError, struct.error) as e:
        raise ModelInvalidError(f"{path} is not a SentencePiece model: {e}", hint=hint) from e
    if problems := [*_unsupported_settings(trainer, normalizer)]:
        message = f"{path} tokenizes differently from llama.cpp: {', '.join(problems)}"
        raise ModelInvalidError(message, hint="use a model with the tokenizer of LLaMA or Mistral")
    ids = {name: _as_signed(trainer.get(number, _ID_DEFAULTS[name])) for name, number in _ID_FIELDS.items()}
    special = {name: token_id for name, token_id in ids.items() if 0 <= token_id < len(pieces)}
    return SentencePiece(tuple(pieces), tuple(scores), tuple(types), special, normalizer.get(3, 1) == 1)


def encode_pieces(pieces: Sequence[bytes], scores: Sequence[float], types: Sequence[int]) -> bytes:
    """Return the part of a `tokenizer.model` with the pieces, byte for byte as the SentencePiece trainer writes it."""
    encoded = []
    for piece, score, kind in zip(pieces, scores, types, strict=True):
        message = _encode_field(1, piece) + _encode_field(2, score)
        if kind != NORMAL:
            message += _encode_field(3, kind)
        encoded.append(_encode_field(_PIECE, message))
    return b"".join(encoded)


def encode_model(model: SentencePiece) -> bytes:
    """Return the content of a `tokenizer.model` with these pieces, without settings of their training."""
    special = {name: model.special.get(name, -1) for name in _ID_FIELDS}
    trainer = [
        _encode_field(3, _BPE),
        _encode_field(4, len(model.pieces)),
        _encode_field(35, int(BYTE in model.types)),
        *(_encode_field(number, special[name]) for name, number in _ID_FIELDS.items()),
        *(
            _encode_field(number, model.pieces[special[name]])
            for name, number in _PIECE_FIELDS.items()
            if special[name] >= 0
        ),
    ]
    normalizer = _encode_field(1, b"identity") + _encode_field(3, int(model.adds_space)) + _encode_field(4, 0)
    pieces = encode_pieces(model.pieces, model.scores, model.types)
    return pieces + _encode_field(_TRAINER, b"".join(trainer)) + _encode_field(_NORMALIZER, normalizer)


def merges_from_scores(pieces: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the merges of `pieces` and their scores with which BPE tokenizes as SentencePiece does; best first.

    Raises:
        ValueError: the pieces are longer, or their merges more, than those of any vocabulary in use.
    """
    if sum(map(len, pieces)) > _MAX_SPLITS or any(len(piece) > _MAX_PIECE for piece in pieces):
        raise ValueError(f"one piece has more than {_MAX_PIECE} characters, or all together more than {_MAX_SPLITS:,}")
    pairs = (
        (-score, -i, piece[:i], piece[i:])
        for piece, score in pieces.items()
        for i in range(1, len(piece))
        if piece[:i] in pieces and piece[i:] in pieces
    )
    ranked = list(islice(pairs, _MAX_MERGES + 1))
    if len(ranked) > _MAX_MERGES:
        raise ValueError(f"its pieces have more than {_MAX_MERGES:,} merges")
    # Of the merges into one piece, the one with the longest left part comes first, as in transformers' generate_merges.
    ranked.sort(key=lambda merge: merge[:2])
    return [(left, right) for _, _, left, right in ranked]


def scores_from_merges(pieces: Sequence[str], merges: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return scores with which SentencePiece tokenizes as `merges` do; pieces that no merge builds come last.

    llama.cpp joins any two neighbours that form a piece, the piece with the best score first; merges can define another
    order. One in a hundred may: early converters left out some merges of a piece.

    Raises:
        ValueError: the merges are not those of a SentencePiece model.
    """
    built: dict[str, float] = {}
    n_out_of_order, last = 0, ""
    for left, right in merges:
        piece = left + right
        if piece in built and piece != last:  # merges of another piece come between those of this one
            n_out_of_order += 1
        built.setdefault(piece, -float(len(built)))
        last = piece
    scores = {piece: built.get(piece, -float(len(built))) for piece in pieces}
    n_wrong = n_out_of_order + len(set(merges_from_scores(scores)) ^ set(merges))
    if 100 * n_wrong > len(merges):
        raise ValueError(f"{n_wrong:,} of its {len(merges):,} merges are not those of a SentencePiece model")
    return scores


def _unsupported_settings(
    trainer: Mapping[int, ProtobufValue], normalizer: Mapping[int, ProtobufValue]
) -> Iterator[str]:
    if trainer.get(3, 1) != _BPE:
        yield "its model type is not BPE"
    if trainer.get(24, 0) != 0:
        yield "treat_whitespace_as_suffix is set"
    if normalizer.get(2, b"") != b"":
        yield f"it normalises text ({normalizer.get(1)!r})"
    if normalizer.get(4, 1) != 0:
        yield "it removes extra spaces"
    if normalizer.get(5, 1) != 1:
        yield "it does not escape spaces"


def _decode_fields(data: bytes) -> Iterator[tuple[int, ProtobufValue]]:
    """Yield number and value of each field of a message, in time linear in its length.

    Raises:
        ValueError, IndexError: the message is damaged.
    """
    position = 0
    while position < len(data):
        key, position = _decode_varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = _decode_varint(data, position)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, position = _decode_varint(data, position)
        if size is None or position + size > len(data):
            raise ValueError(f"damaged at byte {position:,} of {len(data):,}")
        raw = data[position : position + size]
        position += size
        yield key >> 3, _FLOAT.unpack(raw)[0] if kind == 5 else raw


def _decode_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"an unterminated number at byte {position:,}")


def _encode_field(number: int, value: ProtobufValue) -> bytes:
    if isinstance(value, bytes):
        return _encode_varint(number << 3 | 2) + _encode_varint(len(value)) + value
    if isinstance(value, float):
        return _encode_varint(number << 3 | 5) + _FLOAT.pack(value)
    return _encode_varint(number << 3) + _encode_varint(value & (1 << 64) - 1)


def _encode_varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _as_signed(value: ProtobufValue) -> int:
    value = _as_int(value) & (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _as_int(value: ProtobufValue) -> int:
    if not isinstance(value, int):
        raise ValueError("a number is missing")  # noqa: TRY004 - the file is wrong, not the program
    return value


def _as_bytes(value: ProtobufValue) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a text is missing")  # noqa: TRY004 - the file is wrong, not the program
    return value
