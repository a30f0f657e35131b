"""Pulling the tiny model into a store, without a quantizer."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from genrec_edge.hub.manifest import Manifest
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.hub.registry import KnownModel
    from genrec_edge.hub.store import ModelStore


def copy(source: Path, target: Path, known: KnownModel) -> None:
    """Stands in for the quantizer; the tiny model is of the wanted type already."""
    assert known.quant == "F32"
    shutil.copyfile(source, target)


def no_event(*_: object) -> None:
    pass


def bring(models: ModelStore, **options: Any) -> Manifest:
    arguments = {"make": copy, "offline": False, "on_event": no_event, **options}
    return models.pull("tiny", **arguments)


def names(models: ModelStore) -> set[str]:
    return {p.name for p in models.root.iterdir()}


def manifest_of(path: Path, name: str) -> Manifest:
    """Return what the store would write about a GGUF under a name."""
    header = read_header(path)
    return Manifest(
        name=name,
        file=path.name,
        size_bytes=header.file_size,
        sha256=sha256_file(path),
        architecture=header.architecture,
        quant=header.quant,
        n_params=header.n_params,
        licence="MIT",
        base_model="tiny",
        source=None,
        tokenizer_fingerprint=tokenizer_fingerprint(header, path),
        created="2026-01-01T00:00:00+00:00",
        tool_version="0",
    )


def add_to_store(models: ModelStore, path: Path, name: str) -> Path:
    """Put a GGUF into the store under a name, and return where it is there."""
    models.add(path, manifest_of(path, name), no_event)
    return models.get(name)[0]
