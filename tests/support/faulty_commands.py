"""Commands that are killed, or whose disk fails, in forks of one process that has imported everything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.folders import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_SUPPORT = ROOT / "tests" / "support"


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a command: exit code or minus a signal, seconds, calls that could have failed, what it printed."""

    status: int
    seconds: float
    n_calls: int
    output: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object that it printed, between lines for people."""
        (line,) = (line for line in self.output.splitlines() if line.startswith("{"))
        found: dict[str, Any] = json.loads(line)
        return found


class ForkServer:
    """A process that has imported everything, and runs each command in a fork of its own. Made by `fork_server`."""

    def __init__(self, process: subprocess.Popen[str], output_path: Path) -> None:
        self._process = process
        self._output_path = output_path

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        kill_after_s: float | None = None,
        **fault: Any,
    ) -> Ran:
        """Run a command line.

        `fault`: `fail_at`, which call below the folder fails; `error`, its errno; `stays`, whether it stays full.
        """
        request = {
            "arguments": list(arguments),
            "env": dict(env),
            "folder": str(folder),
            "output": str(self._output_path),
            "kill_after_s": kill_after_s,
            "fail_at": 0,
            "error": 0,
            "stays": False,
            **fault,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        outcome = json.loads(self._process.stdout.readline())
        return Ran(**outcome, output=self._output_path.read_text())


@contextmanager
def fork_server(scratch: Path) -> Iterator[ForkServer]:
    """Yield a process whose forks meet the faults of `faults.c`, between them and libc."""
    shim_path = scratch / "faults.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", shim_path, _SUPPORT / "faults.c", "-ldl"], check=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GENREC_EDGE_")}
    env = {**inherited, "LD_PRELOAD": str(shim_path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, _SUPPORT / "fork_server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        yield ForkServer(process, scratch / "output.txt")
        assert process.stdin is not None
        process.stdin.close()


class FaultyCommands:
    """Runs commands in a folder `root`, which can be made anew from a template; `root/home` is the user's home."""

    def __init__(self, server: ForkServer, template: Path, root: Path) -> None:
        self._server = server
        self.template = template
        self.root = root

    def begin_anew(self) -> None:
        """Have the folder hold what the template holds; times of change included."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root, copy_function=shutil.copy2)

    def run(self, arguments: Sequence[str], *, kill_after_s: float | None = None, **fault: Any) -> Ran:
        """Run a command line, "{root}" replaced in it; `fault` as for `ForkServer.run`."""
        env = {"GENREC_EDGE_HOME": str(self.root / "home"), "GENREC_EDGE_OFFLINE": "1"}
        filled = [argument.format(root=self.root) for argument in arguments]
        return self._server.run(filled, self.root, env, kill_after_s=kill_after_s, **fault)

    def names(self) -> set[str]:
        """Return the names of all files and folders, relative to the folder."""
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}


@pytest.fixture(scope="module")
def faulty_commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCommands]:
    """Returns what runs commands with faults; its template is an empty folder, for the test to fill."""
    scratch = tmp_path_factory.mktemp("faults")
    (scratch / "template").mkdir()
    with fork_server(scratch) as server:
        yield FaultyCommands(server, scratch / "template", scratch / "root")
