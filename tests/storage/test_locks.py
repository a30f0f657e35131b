"""The one lock: who holds it is said, waiting has an end, and the dead hold nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import LockedError
from genrec_edge.storage.locks import lock_error, locked
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from genrec_edge.storage.locks import locked
with locked(Path(sys.argv[1]), Path("what")):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_named_and_does_not_hold_the_lock_after_its_death(tmp_path: Path) -> None:
    lock_path = tmp_path / ".a.lock"
    command = [sys.executable, "-c", HOLD, str(lock_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        assert (tmp_path / ".a.holder").read_text() == str(holder.pid)
        with pytest.raises(LockedError) as caught, locked(lock_path, tmp_path / "a", hint="do this"):
            pass
        assert caught.value.message == f"{tmp_path / 'a'} is being written by another process ({holder.pid})"
        assert caught.value.hint == "do this"
        holder.kill()
    with locked(lock_path, tmp_path / "a"):
        assert (tmp_path / ".a.holder").read_text() == str(os.getpid())
    assert {path.name for path in tmp_path.iterdir()} <= {".a.lock"}


def test_waiting_is_announced_once_and_ends(tmp_path: Path) -> None:
    calls = []
    with locked(tmp_path / ".lock", tmp_path):
        with (
            pytest.raises(LockedError, match=r"another process \(\d+\); waited 0\.1 s for it"),
            locked(tmp_path / ".lock", tmp_path, wait_s=0.1, on_wait=lambda: calls.append("wait")),
        ):
            pass
        assert calls == ["wait"]
        assert (tmp_path / ".holder").exists()  # of the one that still holds it


def test_a_lock_that_becomes_free_meanwhile_is_taken(tmp_path: Path) -> None:
    is_waited_for = threading.Event()
    order = []

    def hold() -> None:
        with locked(tmp_path / ".lock", tmp_path):
            is_held.set()
            is_waited_for.wait(60)
            order.append("first")

    is_held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(60)
    with locked(tmp_path / ".lock", tmp_path, wait_s=60, on_wait=is_waited_for.set):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_an_error_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / ".lock", tmp_path):
        raise RuntimeError
    with locked(tmp_path / ".lock", tmp_path):
        pass


def test_the_error_without_a_known_holder(tmp_path: Path) -> None:
    error = lock_error(tmp_path)
    assert error.message == f"{tmp_path} is being written by another process"
    assert error.hint == "wait for it, or end it, and repeat the command"
