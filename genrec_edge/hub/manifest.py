"""The manifest of a model in the store: a small JSON file beside the GGUF that says what it is and what it is made of.

Loading is strict: unknown, missing and mistyped keys are errors.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, get_args

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.training_keys import DEFAULT_PROMPT
from genrec_edge.records import ScoreKind
from genrec_edge.storage.files import atomic_write, open_regular

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "genrec-edge/manifest@1"
MANIFEST_NAME = "manifest.json"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PackageSource:
    """The file in a Python package that a model came from; `member` is its name inside the wheel."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    member_sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model of the store.

    Attributes:
        file: the GGUF's name, in the manifest's own folder; `size_bytes` and `sha256` describe it.
        quant: the file type as in file names, such as "Q8_0".
        licence: SPDX expression.
        source: the package the weights came from, or None for a model made on this machine.
        score_kind: what the model's probabilities are normalised over; see `records.ScoreKind`.
        prompt_version: the prompt layout the model is used with; another one is refused.
        tokenizer_fingerprint: see `gguf.header.tokenizer_fingerprint`.
        created: when the file was made, ISO 8601 in UTC.
    """

    name: str
    file: str
    size_bytes: int
    sha256: str
    architecture: str
    quant: str
    n_params: int
    licence: str
    base_model: str
    source: PackageSource | None
    tokenizer_fingerprint: str
    created: str
    tool_version: str
    score_kind: ScoreKind = "vocabulary"
    prompt_version: str = DEFAULT_PROMPT
    notes: str = ""


_INTS = frozenset({"size_bytes", "n_params"})
_SOURCE_KEYS = frozenset(f.name for f in fields(PackageSource))
_KEYS = frozenset(f.name for f in fields(Manifest))


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest, atomically."""
    document = {"schema": SCHEMA, **asdict(manifest)}
    with atomic_write(path) as file:
        file.write(json.dumps(document, indent=2).encode() + b"\n")  # ASCII: a file name in the notes may not be UTF-8


def load_manifest(path: Path) -> Manifest:
    """Read a manifest. Read-only.

    Raises:
        ModelInvalidError: it is not a manifest; the message lists every unknown, missing and mistyped key.
    """
    try:
        with open_regular(path) as file:
            document = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError) as e:
        raise _invalid(path, [str(e)]) from e
    if not isinstance(document, dict):
        raise _invalid(path, ["it is not a JSON object"])
    if (schema := document.pop("schema", None)) != SCHEMA:
        raise _invalid(path, [f"its schema is {schema!r}, not {SCHEMA!r}"])
    problems = [*_key_problems(document, _KEYS, ""), *_type_problems(document)]
    source = document.get("source")
    if isinstance(source, dict):
        problems += _key_problems(source, _SOURCE_KEYS, "source.")
        problems += [f"source.{k} must be a string" for k, v in source.items() if not isinstance(v, str)]
    if problems:
        raise _invalid(path, problems)
    return Manifest(**{**document, "source": PackageSource(**source) if source else None})


def _invalid(path: Path, problems: list[str]) -> ModelInvalidError:
    message = f"{path} is not a valid manifest: {'; '.join(problems)}"
    return ModelInvalidError(message, hint="remove the model and pull it again")


def _key_problems(document: dict[str, Any], keys: frozenset[str], prefix: str) -> list[str]:
    unknown = [f"{prefix}{key} is unknown" for key in sorted(document.keys() - keys)]
    return unknown + [f"{prefix}{key} is missing" for key in sorted(keys - document.keys())]


def _type_problems(document: dict[str, Any]) -> list[str]:
    problems = []
    for key, value in document.items():
        if key in _INTS:
            if type(value) is not int or value < 1:
                problems.append(f"{key} must be a positive integer")
        elif key == "source":
            if value is not None and not isinstance(value, dict):
                problems.append("source must be an object")
        elif key == "score_kind":
            if value not in get_args(ScoreKind):
                problems.append(f"score_kind must be one of {', '.join(get_args(ScoreKind))}")
        elif key in _KEYS and not isinstance(value, str):
            problems.append(f"{key} must be a string")
    if isinstance(file := document.get("file"), str) and (file in {"", ".", ".."} or set(file) & set("/\\\0")):
        problems.append("file must be the name of a file in the manifest's folder")
    return problems
