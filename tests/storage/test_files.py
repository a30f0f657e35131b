"""Atomic writes: whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from genrec_edge.errors import DiskError, DiskFullError, UsageError
from genrec_edge.storage import files
from genrec_edge.storage.files import atomic_write, file_identity, require_free, sha256_file


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_new_bytes_appear_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


def test_a_raising_block_leaves_the_old_bytes_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_is_one_error_with_path_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    if step == "replace":
        monkeypatch.setattr(type(path), "replace", full)

    def write() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            if step == "write":
                full()

    with pytest.raises(DiskFullError) as caught:
        write()
    assert str(path) in caught.value.message
    assert "bytes free" in caught.value.message
    assert caught.value.exit_code == 8
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_the_kernels_own_full_disk_is_understood(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError),
        files.disk_errors(tmp_path),
        Path("/dev/full").open("wb", 0) as file,
    ):
        file.write(b"x")


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken") as caught, atomic_write(tmp_path / "file"):
        raise OSError(errno.EROFS, "broken")
    assert caught.value.errno == errno.EROFS
    assert names(tmp_path) == []


def test_a_failing_disk_is_told_from_a_full_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(DiskError, match="Input/output error") as caught, atomic_write(path):
        raise OSError(errno.EIO, "Input/output error")
    assert str(path) in caught.value.message
    assert names(tmp_path) == []


def test_parts_of_killed_processes_go_and_parts_of_living_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    script = f"""
        import os, signal
        from pathlib import Path
        from genrec_edge.storage.files import atomic_write
        with atomic_write(Path({str(path)!r})) as file:
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with atomic_write(path) as outer:
        outer.write(b"outer")
        assert len(names(tmp_path)) == 1  # ours; the dead one is gone
        with atomic_write(path) as inner:
            inner.write(b"inner")
    assert path.read_bytes() == b"outer"
    assert names(tmp_path) == ["file"]


def test_sha256_and_its_progress(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 700_000)
    chunks: list[int] = []
    assert sha256_file(path, chunks.append) == sha256_file(path)
    assert sum(chunks) == 2_100_000
    path.write_bytes(b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_pipe_is_not_hashed_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is not a file"):
        sha256_file(tmp_path / "pipe")


def test_room_is_measured_where_the_file_will_be(tmp_path: Path) -> None:
    require_free(tmp_path / "not" / "there" / "yet", 1)
    with pytest.raises(DiskFullError, match="1,152,921,504,606,846,976 bytes are needed"):
        require_free(tmp_path / "not" / "there" / "yet", 1 << 60)


def test_a_file_is_told_from_its_next_version_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    before = file_identity(path)
    assert file_identity(tmp_path / "." / "a") == before
    os.utime(path, ns=(1, 2))
    assert file_identity(path) != before
    path.write_bytes(b"four")
    os.utime(path, ns=(1, 1))
    assert file_identity(path) != before


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    source = tmp_path / "folder" / "in.csv"
    source.parent.mkdir()
    source.write_text("x")
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "soft").symlink_to(source)
    (tmp_path / "around").symlink_to(source.parent)
    (tmp_path / "other").write_text("y")
    for out in ("folder/in.csv", "hard", "soft", "around", "around/in.csv", "folder/../folder/in.csv", "folder"):
        with pytest.raises(UsageError, match="over what is read"):
            files.require_other_file(tmp_path / out, [tmp_path / "other", source])
    files.require_other_file(tmp_path / "other", [source])
    files.require_other_file(tmp_path / "new", [source, tmp_path / "missing"])


def test_only_a_file_is_replaced_and_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    files.refuse_existing(path, force=False)
    path.write_text("x")
    files.refuse_existing(path, force=True)
    for force, there in ((False, path), (False, tmp_path), (True, tmp_path)):
        with pytest.raises(UsageError, match=f"{there} exists already"):
            files.refuse_existing(there, force=force)
