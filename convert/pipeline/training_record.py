"""Reads the training records of bases and adapters: how they were trained, and which layers of a base that takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeGuard

from genrec_edge.convert.checkpoint.layers import format_layers, parse_layers
from genrec_edge.convert.hf_json import read_json
from genrec_edge.errors import ModelInvalidError, UsageError, several
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.training_keys import RECORD_NAME, TRAIN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from genrec_edge.convert.checkpoint.gguf_writer import MetadataValue
    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.lora.peft_reader import Adapter

_KEY = re.compile(r"[a-z][a-z0-9_@]*(\.[a-z0-9_@]+)*")
_MAX_FLOAT = 3.4e38
_MAX_TEXT_LENGTH = 700_000
_MAX_SHOWN = 8
_MAX_SHOWN_LENGTH = 60


def training_record(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> dict[str, MetadataValue]:
    """Return the record of the last adapter that has one, or else that of the base; empty if none has one.

    Raises:
        ModelInvalidError: a record has values other than short texts, numbers and booleans.
    """
    for adapter in reversed(adapters):
        path = adapter.path / RECORD_NAME
        if path.exists():
            return _checked(path, read_json(path))
    if checkpoint.path.is_dir():
        path = checkpoint.path / RECORD_NAME
        return _checked(path, read_json(path)) if path.exists() else {}
    metadata = read_header(checkpoint.path).metadata
    recorded = {
        key.removeprefix(TRAIN_PREFIX): value for key, value in metadata.items() if key.startswith(TRAIN_PREFIX)
    }
    return {key: value for key, value in recorded.items() if _KEY.fullmatch(key) and _is_writable(value)}


def layers_to_keep(
    requested: tuple[int, ...] | None, base: Checkpoint, adapters: Sequence[Path]
) -> tuple[int, ...] | None:
    """Return the layers of a base to keep: the requested ones, or those on which its adapters were trained.

    None keeps all layers, also for a base that has exactly the layers of the adapters.

    Raises:
        UsageError: the request, the base and the records of the adapters contradict each other.
        ModelInvalidError: the key "layers" of a record is not a list of layers.
    """
    config = base.config
    kept = requested
    kept_original = None  # the kept layers, numbered as in the original model
    if requested is not None:
        kept_original = format_layers([config.layers[i] for i in requested if i < config.n_layers])
    for path in adapters:
        record = read_json(path / RECORD_NAME) if (path / RECORD_NAME).exists() else {}
        if "layers" not in record:
            continue
        layers, n_original = _recorded_layers(path / RECORD_NAME, record), record.get("layers_of")
        message = f"{path} was trained on the layers {format_layers(layers)} of {n_original}"
        if config.n_original_layers != n_original or (config.n_layers < n_original and config.layers != layers):
            found = f"{format_layers(config.layers)} of {config.n_original_layers}"
            raise UsageError(f"{message}, and {base.path} has {found}", hint="give the base that it was trained on")
        if kept_original is not None and kept_original != format_layers(layers):
            message = f"{message}, and the layers {kept_original} are to be kept"
            raise UsageError(message, hint="leave out `layers`, or this adapter")
        kept_original = format_layers(layers)
        if config.layers != layers:
            kept = layers
    return kept


def _recorded_layers(path: Path, record: Mapping[str, Any]) -> tuple[int, ...]:
    try:
        return parse_layers(str(record["layers"]))
    except UsageError as e:
        found = repr(record["layers"])[:_MAX_SHOWN_LENGTH]
        message = f'the value of "layers" in {path} is {found}, not a list of layers'
        raise ModelInvalidError(message, hint="remove the file, or train again") from e


def _checked(path: Path, record: Mapping[str, Any]) -> dict[str, MetadataValue]:
    """Return a record whose keys and values can be metadata of a GGUF."""
    invalid = [key for key, value in record.items() if not (_KEY.fullmatch(key) and _is_writable(value))]
    if invalid:
        listed = several([repr(key)[:_MAX_SHOWN_LENGTH] for key in invalid], most=_MAX_SHOWN, separator=", ")
        message = f"{path} has {listed}: keys must be lower-case letters, values texts, numbers or booleans of a GGUF"
        raise ModelInvalidError(message, hint="remove the file, or train again")
    return dict(record)


def _is_writable(value: object) -> TypeGuard[str | int | float]:
    """Return whether `gguf_writer` can write a value: int as uint32, float as float32, text as UTF-8."""
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return 0 <= value < 1 << 32
    if isinstance(value, float):
        return abs(value) <= _MAX_FLOAT
    return isinstance(value, str) and len(value) < _MAX_TEXT_LENGTH and value.encode(errors="replace").decode() == value
