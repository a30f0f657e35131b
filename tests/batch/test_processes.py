"""Processes that Ctrl-C does not reach, not even while Python starts in them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing import util
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.batch.processes import start_process

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals of this kind"),
]

PRESSED = "import os, signal, sys\nif '--multiprocessing-fork' in sys.orig_argv: os.kill(os.getpid(), signal.SIGINT)\n"


def say(connection: Connection, word: str) -> None:
    connection.send(word)
    connection.recv()


def test_ctrl_c_while_python_starts_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(PRESSED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process, connection = start_process(say, "here")
    assert connection.recv() == "here"
    connection.send("go")
    process.join()
    assert (process.exitcode, capfd.readouterr().err) == (0, "")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ctrl_c_between_start_and_what_it_is_told_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    start = util.spawnv_passfds

    def interrupted(*given: Any) -> int:
        pid = start(*given)
        os.kill(os.getpid(), signal.SIGINT)
        return pid

    multiprocessing.resource_tracker.ensure_running()  # it is started in the same way
    monkeypatch.setattr(util, "spawnv_passfds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_process(say, "here")
    for process in multiprocessing.active_children():
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert capfd.readouterr().err == ""
