"""A model out of what was downloaded: what is not as registered is refused, and nothing is left."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import (
    DiskFullError,
    EngineError,
    ModelInvalidError,
)
from genrec_edge.hub import build
from genrec_edge.hub.registry import KnownModel, Registry
from genrec_edge.hub.store import ModelStore
from genrec_edge.storage.files import require_free
from tests.support.store import bring, names

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"member": "genrec_tiny/other.gguf"}, "no such file"),
        ({"member_bytes": 1}, "bytes instead of 1"),
        ({"member_sha256": "00" * 32}, "its contents are not those this version knows"),
        ({"quant": "Q8_0"}, "has the type F32 instead of Q8_0"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_is_not_as_registered_is_refused(
    tiny_index: Registry, tmp_path: Path, change: dict[str, Any], found: str
) -> None:
    registry = Registry("tiny", {"tiny": replace(tiny_index.models["tiny"], **change)})
    models = ModelStore(tmp_path / "models", registry=registry)
    with pytest.raises(ModelInvalidError, match=found):
        bring(models, make=lambda a, b, _: shutil.copyfile(a, b) and None)
    assert names(models) == {".lock"}


@pytest.mark.usefixtures("quick")
def test_a_result_that_cannot_be_run_is_refused(models: ModelStore) -> None:
    with pytest.raises(ModelInvalidError, match="not a GGUF file"):
        bring(models, make=lambda _source, target, _known: target.write_bytes(b"rubbish") and None)
    assert names(models) == {".lock"}


@pytest.mark.usefixtures("quick")
def test_a_failing_quantizer_leaves_nothing(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_source: Path, target: Path, _known: KnownModel) -> None:
        target.write_bytes(b"half")
        raise EngineError("llama.cpp could not quantize")

    with pytest.raises(EngineError):
        bring(models, make=fail)
    usage = shutil.disk_usage(models.root)._replace(free=1)
    monkeypatch.setattr(build, "require_free", lambda *_: require_free(models.root, usage.total * 2))
    with pytest.raises(DiskFullError):
        bring(models, make=fail)
    assert names(models) == {".lock"}
