"""Partial files: which of them killed processes left, and which are being written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from genrec_edge.storage.partial_files import partial_file, partial_files, remove_dead_partial_files

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows does not say which process is alive")


def of_process(path: Path, pid: int) -> Path:
    """Return a partial file of another process, which is made."""
    ours = partial_file(path)
    theirs = ours.with_name(ours.name.replace(f"-{os.getpid()}.", f"-{pid}."))
    theirs.write_bytes(b"half")
    return theirs


def ended_process() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_files_of_ended_processes_go_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "a.b.npz"
    ours = partial_file(path)
    ours.touch()
    dead, of_another_file = (of_process(p, ended_process()) for p in (path, tmp_path / "other"))
    other_host = tmp_path / ".a.b.npz.00000000-1.00000000.part"
    unlike = tmp_path / ".a.b.npz.part"
    for file in (other_host, unlike):
        file.touch()
    assert set(partial_files(tmp_path, dead=False)) == {ours, dead, of_another_file, other_host}
    assert set(partial_files(tmp_path, dead=True)) == {dead, of_another_file}
    remove_dead_partial_files(tmp_path, of="a.b.npz")
    assert set(tmp_path.iterdir()) == {ours, of_another_file, other_host, unlike}
    remove_dead_partial_files(tmp_path)
    assert set(tmp_path.iterdir()) == {ours, other_host, unlike}
    assert partial_files(tmp_path / "none", dead=False) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc says when a process began")
def test_a_file_older_than_the_process_of_that_number_is_not_its_own(tmp_path: Path) -> None:
    """In containers the next process often has the number of the killed one."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        theirs = of_process(tmp_path / "a", process.pid)
        assert partial_files(tmp_path, dead=True) == []
        before = time.time() - 3600
        os.utime(theirs, (before, before))
        assert partial_files(tmp_path, dead=True) == [theirs]
        process.communicate(b"\n")
