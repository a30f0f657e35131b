"""What a converted file says about itself: the `general.*` keys of the GGUF convention, and our own `genrec_edge.*`.

Source of the keys and of the file names: docs/gguf.md of ggml.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeGuard

import gguf

from genrec_edge._version import __version__
from genrec_edge.catalog.titles import clean
from genrec_edge.convert.checkpoint.layers import format_layers, parse_layers
from genrec_edge.convert.hf_json import CONFIG_NAME, read_json
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.training_keys import (
    DEFAULT_PROMPT,
    LAYERS_KEY,
    LAYERS_OF_KEY,
    NAMESPACE,
    PROMPT_KEY,
    RECORD_NAME,
    TRAIN_PREFIX,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from genrec_edge.convert.checkpoint.gguf_writer import MetadataValue
    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.lora.peft_reader import Adapter

_SCHEMA_VERSION = 1
_VERSION = "v1.0"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")
_MAX_NAME = 60
# An SPDX expression: identifiers, LicenseRef-…, joined by AND, OR and WITH. Source: SPDX specification 2.3, annex D.
_LICENCE = re.compile(r"\(*[A-Za-z0-9][A-Za-z0-9.+-]*\)*( (AND|OR|WITH) \(*[A-Za-z0-9][A-Za-z0-9.+-]*\)*)*")
_TRAIN_KEY = re.compile(r"[a-z][a-z0-9_@]*(\.[a-z0-9_@]+)*")
# "owner/name", or a name; other things that transformers puts there are folders of whoever saved the model.
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_LARGEST_FLOAT = 3.4e38
_MAX_TEXT = 10_000
_SHOWN = 8


def check_name(name: str) -> None:
    """Check that file names of the GGUF convention can be made of a model's name.

    Raises:
        UsageError: it has other characters than letters, digits and hyphens, or does not start with a letter.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise UsageError(
            f"--name {name!r} cannot be the name of a model",
            hint=f"use letters, digits and single hyphens, at most {_MAX_NAME}, a letter first",
        )


def check_licence(licence: str | None, base: Path) -> str:
    """Return the licence that was named.

    Raises:
        UsageError: none was, or it is no SPDX expression; the hint says what the base claims, where it does.
    """
    if licence is None:
        claimed = _claimed_licence(base)
        hint = f"the base says {claimed}" if claimed else "see the card of the base; for example --license Apache-2.0"
        raise UsageError("the result needs a licence: give --license with an SPDX expression", hint=hint)
    if not _LICENCE.fullmatch(licence) or not _is_balanced(licence):
        hint = "for example Apache-2.0, MIT, or LicenseRef-llama2 for a licence without an SPDX name"
        raise UsageError(f"--license {licence!r} is not an SPDX expression", hint=hint)
    return licence


def _is_balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _claimed_licence(base: Path) -> str:
    try:
        value = read_header(base).metadata.get("general.license", "")
    except ModelInvalidError:
        return ""  # a folder, or damaged, which is said when the base is opened
    return value if isinstance(value, str) else ""


def file_name(name: str, n_params: int, encoding: str, kind: str | None = None) -> str:
    """Return the name of a file by the GGUF convention, such as "films-135M-v1.0-Q8_0.gguf"."""
    stem = gguf.naming_convention(None, name, None, _VERSION, _size_label(n_params), encoding, kind)  # type: ignore[arg-type]
    return f"{stem}.gguf"


def base_name(base: Path) -> str:
    """Return what the base calls itself, or what its file or folder is called; never where it lies on a disk."""
    if base.is_dir():
        named = read_json(base / CONFIG_NAME).get("_name_or_path")
        if not (isinstance(named, str) and _HUB_NAME.fullmatch(named)):
            named = base.resolve().name
    else:
        metadata = read_header(base).metadata
        named = metadata.get("general.name") or metadata.get("general.basename")
    return clean(named if isinstance(named, str) and named else base.stem)


def model_metadata(
    checkpoint: Checkpoint, adapters: Sequence[Adapter], name: str, licence: str
) -> dict[str, MetadataValue]:
    """Return the metadata of a model made of a checkpoint and what was merged into it."""
    config, trained = checkpoint.config, training_record(checkpoint, adapters)
    fields = general_fields(name, licence, base_name(checkpoint.path), checkpoint.n_params, trained)
    if config.n_layers < config.n_original_layers:
        fields |= {LAYERS_KEY: format_layers(config.layers), LAYERS_OF_KEY: config.n_original_layers}
    fields[f"{NAMESPACE}.adapter_count"] = len(adapters)
    for i, adapter in enumerate(adapters):
        fields |= {f"{NAMESPACE}.adapter.{i}.{key}": value for key, value in adapter_fields(adapter).items()}
    return fields


def general_fields(
    name: str, licence: str, base: str, n_params: int, trained: Mapping[str, MetadataValue]
) -> dict[str, MetadataValue]:
    """Return the keys that every file of ours has; `trained` is the record of its training, which may be empty."""
    return {
        "general.name": name,
        "general.basename": name,
        "general.version": _VERSION,
        "general.size_label": _size_label(n_params),
        "general.license": licence,
        "general.quantized_by": f"genrec-edge {__version__}",
        "general.base_model.count": 1,
        "general.base_model.0.name": base,
        "general.tags": ["recommendation", "genrec-edge"],
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
        f"{NAMESPACE}.schema_version": _SCHEMA_VERSION,
        f"{NAMESPACE}.tool_version": __version__,
        PROMPT_KEY: str(trained.get("prompt", DEFAULT_PROMPT)),
        **{f"{TRAIN_PREFIX}{key}": value for key, value in trained.items()},
    }


def adapter_fields(adapter: Adapter) -> dict[str, MetadataValue]:
    """Return what a file says of one adapter."""
    return {"name": clean(adapter.path.resolve().name), "sha256": adapter.sha256, "weight": float(adapter.weight)}


def training_record(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> dict[str, MetadataValue]:
    """Return the record of the training: the last adapter's, or what the base itself says where none has one.

    Raises:
        ModelInvalidError: a record holds something else than short texts, numbers and flags.
    """
    for adapter in reversed(adapters):
        path = adapter.path / RECORD_NAME
        if path.exists():
            return _scalars(path, read_json(path))
    if checkpoint.path.is_dir():
        path = checkpoint.path / RECORD_NAME
        return _scalars(path, read_json(path)) if path.exists() else {}
    prefix = TRAIN_PREFIX
    metadata = read_header(checkpoint.path).metadata
    return {
        key.removeprefix(prefix): value
        for key, value in metadata.items()
        if key.startswith(prefix) and _TRAIN_KEY.fullmatch(key.removeprefix(prefix)) and _is_scalar(value)
    }


def layers_to_keep(
    wanted: tuple[int, ...] | None, base: Checkpoint, adapters: Sequence[Path]
) -> tuple[int, ...] | None:
    """Return the layers of a base to keep: those that were asked for, or that its adapters say they were trained on.

    None keeps all; so does a base that consists of just those layers.

    Raises:
        UsageError: what was asked for, the base and the adapters' records contradict each other.
        ModelInvalidError: a record names no layers under "layers".
    """
    config = base.config
    had = None if wanted is None else (format_layers([config.layers[i] for i in wanted if i < config.n_layers]))
    for path in adapters:
        record = read_json(path / RECORD_NAME) if (path / RECORD_NAME).exists() else {}
        if "layers" not in record:
            continue
        layers, of = _layers(path / RECORD_NAME, record)
        message = f"{path} was trained on the layers {format_layers(layers)} of {of}"
        if config.n_original_layers != of or (config.n_layers < of and config.layers != layers):
            found = f"{format_layers(config.layers)} of {config.n_original_layers}"
            raise UsageError(f"{message}, and {base.path} has {found}", hint="name the base it was trained on")
        if had is not None and had != format_layers(layers):
            raise UsageError(f"{message}, and {had} are to be kept", hint="leave out --keep-layers, or that adapter")
        had = format_layers(layers)
        wanted = layers if config.layers != layers else wanted
    return wanted


def _layers(path: Path, record: Mapping[str, Any]) -> tuple[tuple[int, ...], object]:
    try:
        return parse_layers(str(record["layers"])), record.get("layers_of")
    except UsageError as e:
        found = repr(record["layers"])[:_MAX_NAME]
        raise ModelInvalidError(f"{path} names no layers: {found}", hint="remove it, or train again") from e


def _scalars(path: Path, record: Mapping[str, Any]) -> dict[str, MetadataValue]:
    wrong = [key for key, value in record.items() if not (_TRAIN_KEY.fullmatch(key) and _is_scalar(value))]
    if wrong:
        found = ", ".join(repr(key)[:60] for key in wrong[:_SHOWN])
        message = f"{path} holds {found}: not a text, number or flag of a GGUF under a name of lower-case letters"
        raise ModelInvalidError(message, hint="remove it, or train again")
    return dict(record)


def _is_scalar(value: object) -> TypeGuard[str | int | float]:
    """Whether `gguf_writer` can write it: integers as uint32, real numbers as float32, texts as UTF-8."""
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return 0 <= value < 1 << 32
    if isinstance(value, float):
        return abs(value) <= _LARGEST_FLOAT
    return isinstance(value, str) and len(value) < _MAX_TEXT and value.encode(errors="replace").decode() == value


def _size_label(n_params: int) -> str:
    label: str = gguf.size_label(n_params, n_params, 0, 0)
    return label
