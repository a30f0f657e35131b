"""A model in the store is the file that its manifest describes, or it is not opened."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import ModelInvalidError
from genrec_edge.hub import contents
from genrec_edge.hub.contents import holds
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.storage import checked_files
from genrec_edge.storage.files import sha256_file
from tests.support.store import add_to_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TICK_S = 0.02  # more than a tick of the clock of a file system


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    """Has new files trusted as soon as they were hashed once."""
    monkeypatch.setattr(checked_files, "SETTLED_NS", -1)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Returns the paths of what is hashed as a whole, as it goes on."""
    seen: list[Path] = []

    def counting(path: Path) -> str:
        seen.append(path)
        return sha256_file(path)

    monkeypatch.setattr(contents, "sha256_file", counting)
    return seen


def test_a_file_is_hashed_once_and_again_after_a_change(tmp_path: Path, hashed: list[Path]) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(100_000))
    digest = sha256_file(path)
    assert [holds(path, digest) for _ in range(3)] == [True] * 3
    assert len(hashed) == 1
    time.sleep(TICK_S)
    os.utime(path)
    assert [holds(path, digest) for _ in range(2)] == [True] * 2
    assert len(hashed) == 2
    assert not holds(path, "0" * 64)


def test_a_file_of_just_now_is_not_trusted_yet(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_files, "SETTLED_NS", 3600 * 10**9)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"x")
    for _ in range(2):
        assert holds(path, sha256_file(path))
    assert len(hashed) == 2


def test_flipped_bits_are_noticed_even_if_the_time_is_set_back(
    tmp_path: Path, trials: Callable[[int, int], int]
) -> None:
    path, rng = tmp_path / "model.gguf", random.Random(1)
    path.write_bytes(rng.randbytes(300_000))
    digest, times = sha256_file(path), (path.stat().st_atime_ns, path.stat().st_mtime_ns)

    def flip(at: int, bit: int) -> None:
        time.sleep(TICK_S)
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ bit]))
        os.utime(path, ns=times)

    for _ in range(trials(10, 100)):
        assert holds(path, digest)
        place = (rng.randrange(300_000), 1 << rng.randrange(8))
        flip(*place)
        assert not holds(path, digest)
        flip(*place)


def test_bytes_that_change_below_the_file_system_are_noticed_in_the_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(2 << 20))
    digest, stamp = sha256_file(path), checked_files.stamp_of(path)
    monkeypatch.setattr(checked_files, "stamp_of", lambda _path: stamp)
    assert holds(path, digest)
    with path.open("r+b") as file:
        file.seek((2 << 20) - 1)
        file.write(b"x")
    assert not holds(path, digest)


@pytest.mark.parametrize(
    "kind", ["no record can be written", "the record is damaged", "the record is forged", "a pipe"]
)
def test_without_a_record_that_can_be_used_the_file_is_hashed(kind: str, tmp_path: Path, hashed: list[Path]) -> None:
    path, folder = tmp_path / "model.gguf", tmp_path / "home" / "cache" / "models"
    path.write_bytes(b"x")
    digest = sha256_file(path)
    if kind == "no record can be written":
        folder.parent.mkdir(parents=True)
        folder.touch()
    else:
        assert holds(path, digest)
        (record,) = folder.iterdir()
        if kind == "a pipe":  # opening it would wait for a writer
            record.unlink()
            os.mkfifo(record)
        else:
            record.write_text("[" * 5000 if "damaged" in kind else record.read_text().replace(digest, "0" * 64))
    hashed.clear()
    assert holds(path, digest)
    assert len(hashed) == 1


def test_a_changed_model_of_the_store_is_not_opened(tiny_gguf: Callable[..., Path], tmp_path: Path) -> None:
    store = ModelStore()
    path = add_to_store(store, tiny_gguf(tmp_path / "a.gguf"), "mine")
    assert resolve_model("mine", store).path == path
    other = tiny_gguf(tmp_path / "b.gguf", keys={"general.name": "other"}).read_bytes()
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(other.ljust(size, b"\0")[:size])
    with pytest.raises(ModelInvalidError, match="is not the file that its manifest describes") as error:
        resolve_model("mine", store)
    assert error.value.hint == "genrec-edge models rm mine"
