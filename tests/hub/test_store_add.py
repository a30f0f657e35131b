"""Putting a file that was made on this machine into the store."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import DiskFullError, ModelInvalidError, UsageError
from genrec_edge.hub.store import ModelStore
from tests.support.store import manifest_of, no_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from genrec_edge.hub.manifest import Manifest
    from genrec_edge.hub.registry import Registry


@pytest.fixture
def made(tiny_gguf: Callable[..., Path], tmp_path: Path) -> tuple[Path, Manifest]:
    path = tiny_gguf(tmp_path / "films-Q8_0.gguf")
    return path, manifest_of(path, "films")


@pytest.fixture
def store(tiny_index: Registry, tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", registry=tiny_index)


def no_links(_self: Path, _target: Path) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.parametrize("links", [True, False])
def test_a_made_file_is_in_the_store_linked_or_copied(
    links: bool, store: ModelStore, made: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, manifest = made
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    assert store.add(path, manifest, no_event) == manifest
    stored, found = store.get("films")
    assert found == manifest
    assert stored.samefile(path) == links
    assert store.verify("films") == manifest
    assert stored.read_bytes() == path.read_bytes()
    assert {p.name for p in store.root.iterdir()} <= {"films", ".lock"}
    path.unlink()
    assert store.verify("films") == manifest


def test_names_in_use_are_refused_and_nothing_is_replaced(store: ModelStore, made: tuple[Path, Manifest]) -> None:
    path, manifest = made
    store.add(path, manifest, no_event)
    with pytest.raises(UsageError, match=r"in .* already") as caught:
        store.add(path, manifest, no_event)
    assert caught.value.hint.endswith("genrec-edge models rm films")
    with pytest.raises(UsageError, match="'tiny' is the name of a model that can be pulled"):
        store.require_absent("tiny")
    with pytest.raises(UsageError, match="not a model's name"):
        store.require_absent("../films")
    store.require_absent("films-q4_0")
    assert store.get("films")[1] == manifest


def test_a_name_taken_while_waiting_for_the_lock_is_refused(
    store: ModelStore, made: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, manifest = made
    other = ModelStore(store.root, registry=store.registry)
    absent = store.require_absent

    def taken_right_after(name: str) -> None:
        absent(name)
        monkeypatch.undo()
        other.add(path, manifest, no_event)

    monkeypatch.setattr(store, "require_absent", taken_right_after)
    with pytest.raises(UsageError, match="already"):
        store.add(path, manifest, no_event)
    assert store.verify("films") == manifest


@pytest.mark.parametrize("moment", ["before", "while"])
def test_a_full_disk_leaves_no_trace(
    moment: str, store: ModelStore, made: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, manifest = made
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    usage = shutil.disk_usage(path)
    free = manifest.size_bytes - (moment == "before")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=free))
    copied = []

    def full(_source: Path, target: Path) -> None:
        copied.append(target)
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(DiskFullError, match="no room"):
        store.add(path, manifest, no_event)
    assert len(copied) == (moment == "while")
    assert {p.name for p in store.root.iterdir()} <= {".lock"}
    monkeypatch.undo()
    assert store.add(path, manifest, no_event) == manifest


def test_a_file_that_is_not_what_its_manifest_says_is_found(store: ModelStore, made: tuple[Path, Manifest]) -> None:
    path, manifest = made
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelInvalidError):
        store.add(path, manifest, no_event)
