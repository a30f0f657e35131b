"""Jobs of `genrec-edge batch` in processes of their own, and a way to kill them at a chosen moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


MAIN = "from genrec_edge.cli import main; main()"


# Begins every Python process below: at the n-th rename of the process that has the job, for a user who asks for 13
# items, or with u40 answered and not yet sent, it is killed as from outside. KILL_OPENING is what llama.cpp does about
# a model that breaks its rules: whoever opens it is aborted.
KILLER = """
import os, signal
count, real = [0], {name: getattr(os, name) for name in ("replace", "rename")}
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def wrapped(name):
    def rename(source, target, **options):
        if ".parts" not in str(target) and "out." not in os.path.basename(target):
            return real[name](source, target, **options)
        count[0] += 1
        at = os.environ.get("KILL_AT")
        if at == f"before {count[0]}": die()
        real[name](source, target, **options)
        if at == f"after {count[0]}": die()
    return rename
for name in real:
    setattr(os, name, wrapped(name))
if os.environ.get("KILL_THIRTEEN"):
    import genrec_edge.recommender as r
    answer = r.Recommender.answer
    r.Recommender.answer = lambda self, request, **o: die() if request.k == 13 else answer(self, request, **o)
if os.environ.get("KILL_OPENING"):
    import genrec_edge.serving.session as s
    s.Session.open = lambda *_: os.abort()
if os.environ.get("KILL_TELLING"):
    from multiprocessing.connection import Connection
    send = Connection.send
    def telling(self, what):
        if isinstance(what, tuple) and what[0] == "rows" and any(b'"u40"' in line for line in what[1]): die()
        send(self, what)
    Connection.send = telling
"""


@pytest.fixture(scope="session")
def job_home_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a home for all jobs: the title index is built once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def job_home(job_home_path: Path) -> Iterator[None]:
    """Moves every folder of the user to the home of all jobs while the tests of a file run."""
    with pytest.MonkeyPatch.context() as patch:
        _use_home(patch, job_home_path)
        yield


@pytest.fixture(scope="session")
def batch_command(tiny_llama: Path, tricky_path: Path, job_users: Path) -> list[str]:
    """Returns the command without its output."""
    setup = ["--model", str(tiny_llama), "--catalog", str(tricky_path), "-k", "5"]
    return [sys.executable, "-c", MAIN, "batch", str(job_users), "--workers", "1", *setup]


@pytest.fixture(scope="session")
def whole_output(batch_command: list[str], job_home_path: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Returns what a job writes that nothing happens to."""
    out_path = tmp_path_factory.mktemp("whole") / "out.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        _use_home(patch, job_home_path)
        done = run(batch_command, out_path)
    assert done.returncode == 3, done.stderr
    assert "53 of 56 users answered" in done.stdout
    assert [path.name for path in out_path.parent.iterdir()] == ["out.jsonl"]
    return out_path.read_bytes()


@pytest.fixture
def killer(tmp_path: Path) -> dict[str, str]:
    """Returns the variables that let `KILLER` begin every Python process below."""
    folder = tmp_path / "killer"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILLER)
    return {"PYTHONPATH": str(folder)}


def run(
    command: list[str], out_path: Path, *more: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a job to its end."""
    argv = [*command, "--out", str(out_path), *more]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})


def begun(command: list[str], out_path: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start a job in a process group of its own, and return it stopped when its first part is there.

    Stopped, it cannot end before the test has done to it what it wants; SIGCONT lets it go on.
    """
    argv = [*command, "--out", str(out_path), *more]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while not list(parts(out_path)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGSTOP)
    assert not out_path.exists()
    return process


def parts(out_path: Path) -> list[Path]:
    """Return the finished chunks of a job that is not at its end."""
    return sorted(out_path.with_name(f"{out_path.name}.parts").glob("[0-9]*.jsonl"))


def _use_home(patch: pytest.MonkeyPatch, path: Path) -> None:
    patch.setenv("GENREC_EDGE_HOME", str(path))
    patch.setenv("GENREC_EDGE_OFFLINE", "1")
