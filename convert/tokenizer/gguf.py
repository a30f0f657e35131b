"""Reads the tokenizer from the metadata of a GGUF, and returns the metadata to write for one; no key is lost."""

from __future__ import annotations

import reprlib
import struct
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
from gguf import GGUFValueType

from genrec_edge.convert.tokenizer.types import NORMAL, MetadataField, SpecialToken, Tokenizer, check_vocabulary
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_strings
from genrec_edge.gguf.types import ArrayInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genrec_edge.gguf.types import GgufHeader

_PREFIX = "tokenizer."
_GGML = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_ARRAYS = {f"{_GGML}{name}" for name in ("tokens", "token_type", "scores", "merges")}
_SPECIAL = {f"{_GGML}{name}_token_id": name for name in get_args(SpecialToken)}
_FLAGS = {f"{_GGML}{name}": name for name in ("add_bos_token", "add_eos_token", "add_space_prefix")}
_HINT = "convert or fetch the model again"


def read_gguf_tokenizer(header: GgufHeader) -> Tokenizer:
    """Return the tokenizer of a GGUF. Reads the vocabulary from `header.path`.

    A GGUF with the `gguf_fields` of the result has the same `gguf.header.tokenizer_fingerprint`.

    Raises:
        ModelInvalidError: the tokenizer is missing, not supported, or one that llama.cpp would not load.
    """
    metadata, path = header.metadata, header.path
    model = metadata.get(f"{_GGML}model")
    if model not in {"llama", "gpt2"}:
        message = f"{path}: tokenizer.ggml.model is {reprlib.repr(model)}, not 'llama' or 'gpt2'"
        raise ModelInvalidError(message, hint=_HINT)
    tokens = tuple(read_strings(header, f"{_GGML}tokens"))
    types = _read_numbers(header, "token_type", "int32")
    merges = f"{_GGML}merges"
    tokenizer = Tokenizer(
        model=cast("Any", model),
        pre=cast("str", _typed(header, f"{_GGML}pre", str, "")),
        tokens=tokens,
        types=tuple(types) if types else (NORMAL,) * len(tokens),
        scores=tuple(_read_numbers(header, "scores", "float32")),
        merges=tuple(read_strings(header, merges)) if merges in metadata else (),
        special={name: _typed(header, key, int, None) for key, name in _SPECIAL.items() if key in metadata},
        flags={name: _typed(header, key, bool, None) for key, name in _FLAGS.items() if key in metadata},
        chat_template=_typed(header, _TEMPLATE, str, None),
        extra=tuple(_extra_fields(header)),
    )
    check_vocabulary(tokenizer, path)
    return tokenizer


def gguf_fields(tokenizer: Tokenizer) -> list[MetadataField]:
    """Return the metadata of a tokenizer, in the order in which llama.cpp's converter writes it.

    For `gguf.GGUFWriter.add_key_value(key, value, GGUFValueType(type), sub_type)`.
    """
    string, array = GGUFValueType.STRING, GGUFValueType.ARRAY
    fields = [
        MetadataField(f"{_GGML}model", tokenizer.model, string),
        *([MetadataField(f"{_GGML}pre", tokenizer.pre, string)] if tokenizer.pre else ()),
        MetadataField(f"{_GGML}tokens", tokenizer.tokens, array, string),
        MetadataField(f"{_GGML}scores", tokenizer.scores, array, GGUFValueType.FLOAT32),
        MetadataField(f"{_GGML}token_type", tokenizer.types, array, GGUFValueType.INT32),
        MetadataField(f"{_GGML}merges", tokenizer.merges, array, string),
        *(MetadataField(f"{_GGML}{name}_token_id", n, GGUFValueType.UINT32) for name, n in tokenizer.special.items()),
        *(MetadataField(f"{_GGML}{name}", value, GGUFValueType.BOOL) for name, value in tokenizer.flags.items()),
        *tokenizer.extra,
    ]
    if tokenizer.chat_template is not None:
        fields.append(MetadataField(_TEMPLATE, tokenizer.chat_template, string))
    return [field for field in fields if field.value != ()]


def _read_numbers(header: GgufHeader, name: str, kind: str) -> list[Any]:
    array = header.metadata.get(f"{_GGML}{name}")
    if array is None:
        return []
    # llama.cpp also accepts scores as int32; they are written as float32.
    if not isinstance(array, ArrayInfo) or array.kind not in {kind, "int32"}:
        message = f"{header.path}: {_GGML}{name} is {reprlib.repr(array)}, not a list of {kind}"
        raise ModelInvalidError(message, hint=_HINT)
    return _read_array(header, array)


def _read_array(header: GgufHeader, array: ArrayInfo) -> list[Any]:
    dtype = np.dtype(array.kind).newbyteorder("<")
    values: list[Any] = np.fromfile(header.path, dtype, array.count, offset=array.start).tolist()
    return values


def _typed(header: GgufHeader, key: str, kind: type, default: Any) -> Any:
    value = header.metadata.get(key, default)
    if value is not default and type(value) is not kind:
        message = f"{header.path}: {key} is {reprlib.repr(value)}, not of type {kind.__name__}"
        raise ModelInvalidError(message, hint=_HINT)
    return value


def _extra_fields(header: GgufHeader) -> Iterator[MetadataField]:
    known = {f"{_GGML}model", f"{_GGML}pre", _TEMPLATE, *_ARRAYS, *_SPECIAL, *_FLAGS}
    for key, value in header.metadata.items():
        if not key.startswith(_PREFIX) or key in known:
            continue
        kind, item_kind = _value_types(header, key)
        if not isinstance(value, ArrayInfo):
            yield MetadataField(key, value, kind)
        elif item_kind == GGUFValueType.STRING:
            yield MetadataField(key, tuple(read_strings(header, key)), kind, item_kind)
        else:
            yield MetadataField(key, tuple(_read_array(header, value)), kind, item_kind)


def _value_types(header: GgufHeader, key: str) -> tuple[int, int]:
    """Return the numbers of a value's type and, where it is an array, of its elements' type."""
    with header.path.open("rb") as file:
        file.seek(header.spans[key][0])
        kind, item_kind = struct.unpack("<II", file.read(8).ljust(8, b"\0"))
    return kind, item_kind
