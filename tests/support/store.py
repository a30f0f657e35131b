"""Pulling the tiny model into a store, without a quantizer."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.hub.manifest import Manifest
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
