"""Ctrl-C at any moment of every long command: 130 and one word, nothing in the way of the next call."""

from __future__ import annotations

import csv
import http.server
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.catalog.writer import build
from genrec_edge.hub.registry import KnownModel, Registry
from tests.support.commands import installed_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

N_TITLES = 1_000
RECIPE = "[data]\nwindow = 8\n[lora]\nr = 4\n[optimizer]\nepochs = 3\n[validation]\nusers = 3\n"
OPERATIONS = {
    "recommend": "recommend --model {m} --catalog {c} --threads 1 -k 50 --explain -H Alien -H Heat -H Jaws -H Fargo",
    "calibrate": "recommend --model {m} --catalog {many} --threads 1 -k 3 --calibrate 0.5",
    "index": "recommend --model {m} --catalog {many} --threads 1 -k 3",
    "catalog build": "catalog build {csv} -o {new}.db --force",
    "prior build": "prior build --data {d} --split all --out {new}.prior --fit --force",
    "evaluate": "evaluate --data {d} --model {m} --baselines all --threads 1",
    "bench": "bench --model {m} --catalog {c} --threads 1 -n 8 --history-length 10",
    "batch": "batch {users} -o {new}.jsonl --force --model {m} --catalog {c} --workers 2 --threads 1",
    "convert": "convert --base {m} --out {new} --name {name} --license MIT "
    "--quant F16,Q8_0 --verify quick --threads 1 --catalog {c}",
    "train": "train --data {d} --base {m} --out {new} --config {recipe} --threads 1",
    "models pull": "models pull tiny --force",
}
PULL = """
import pickle, sys
from genrec_edge import cli
from genrec_edge.cli import interrupts
interrupts.watch()
registry = pickle.load(open(sys.argv.pop(1), "rb"))
try:
    from genrec_edge.hub import store
    store.load_registry = lambda: registry
except KeyboardInterrupt:  # what `main` does where this is imported by it
    interrupts.say()
    sys.exit(interrupts.EXIT_CODE)
cli.main()
"""


class SlowIndex(http.server.SimpleHTTPRequestHandler):
    """A package index of one folder that sends files in small pieces."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        while piece := source.read(4096):
            outputfile.write(piece)
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def slow_index(wheel_path: Path, folder: Path) -> Iterator[str]:
    """Serve a wheel on the loopback as a package index; yield its address."""
    place = folder / "simple" / "genrec-tiny"
    place.mkdir(parents=True)
    shutil.copy(wheel_path, place)
    (place / "index.html").write_text(f'<a href="{wheel_path.name}">{wheel_path.name}</a>')
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: SlowIndex(*a, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


@pytest.fixture(scope="module")
def places(
    tiny_llama: Path,
    tricky_path: Path,
    small_data: Path,
    tiny_wheel: tuple[Path, KnownModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """Yields what the operations name; all of it is made once."""
    folder = tmp_path_factory.mktemp("places")
    rng = random.Random(1)
    titles = [f"{rng.choice('ABCDEFGH')}{rng.randrange(10**6)} film {i}" for i in range(N_TITLES)]
    with (folder / "many.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "title", "genres"), *((i, title, "a|b") for i, title in enumerate(titles))])
    build(folder / "many.csv", folder / "many.db")
    users = [f'{{"user": {i}, "history": ["Alien", "Heat"]}}\n' for i in range(32)]
    (folder / "users.jsonl").write_text("".join(users), encoding="utf-8")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    wheel_path, known = tiny_wheel
    (folder / "registry").write_bytes(pickle.dumps(Registry("tiny", {"tiny": known})))
    named = {"m": tiny_llama, "c": tricky_path, "d": small_data, "many": folder / "many.db", "csv": folder / "many.csv"}
    named |= {"users": folder / "users.jsonl", "recipe": folder / "recipe.toml", "registry": folder / "registry"}
    with slow_index(wheel_path, folder / "index") as address:
        yield {**{name: str(path) for name, path in named.items()}, "index": address}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try every operation with --all-trials, else a sample that takes a few seconds."""
    if "operation" in metafunc.fixturenames:
        is_all = metafunc.config.getoption("--all-trials")
        metafunc.parametrize("operation", OPERATIONS if is_all else ["recommend", "catalog build"])


def started(operation: str, places: dict[str, str], home: Path) -> subprocess.Popen[str]:
    """Start an operation as a terminal does, in a group and a home of its own; nothing but errors is said."""
    names = {**places, "new": str(home / "new"), "name": "made"}
    words = [*OPERATIONS[operation].format(**names).split(), "-q"]
    program = [installed_command()]
    if operation == "models pull":
        program = [sys.executable, "-c", PULL, places["registry"]]
    variables = {**os.environ, "GENREC_EDGE_HOME": str(home), "PIP_INDEX_URL": places["index"], "PIP_NO_CACHE_DIR": "1"}
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "GENREC_EDGE_OFFLINE"):
        variables.pop(name, None)
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [*program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**variables, "TMPDIR": str(home / "tmp")},
        cwd=home,
        start_new_session=True,
    )


def finished(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = running.communicate(timeout=200)
    finally:
        running.kill()  # only where the test has failed it is still there
    return running.returncode, out, err


def wait_for_its_listener(running: subprocess.Popen[str]) -> None:
    """Wait until the process hears of Ctrl-C by itself: before, it is Python that starts, and none of ours."""
    while running.poll() is None and len(list(Path(f"/proc/{running.pid}/task").iterdir())) < 2:
        time.sleep(0.002)


def left_over(session: int) -> list[str]:
    """Return the commands of a session that still run; each has ten seconds to end after the one that began it."""
    until = time.monotonic() + 10
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state, _, _, its_session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(its_session) == session and state != "Z":
                    found.append((path / "cmdline").read_text().replace("\0", " "))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.02)


def files(home: Path) -> set[str]:
    """Return what lies in a home, but the locks, which are named after whole paths and stay, and one record.

    A catalog is remembered as checked unless it was made just now, which depends on how fast this test is.
    """
    found = {path.relative_to(home) for path in home.rglob("*")}
    return {str(path) for path in found if path.parent.name != "locks"} - {"cache", "cache/checked-catalogs.json"}


@dataclass
class Trials:
    """Runs of one operation that are interrupted at random moments, and what was wrong with them."""

    operation: str
    places: dict[str, str]
    home: Path
    lasts_s: float
    lines: list[str]
    n_tried: int = 0
    wrong: list[object] = field(default_factory=list)

    def try_one(self, rng: random.Random, *, twice: bool) -> None:
        """Interrupt one run, unless it is done before; `twice` is a second Ctrl-C a moment later."""
        began = time.monotonic()
        running = started(self.operation, self.places, self.home)
        wait_for_its_listener(running)
        time.sleep(rng.uniform(0, 0.9 * self.lasts_s))
        if running.poll() is not None:
            finished(running)
            self.lasts_s = min(self.lasts_s, time.monotonic() - began)  # it was faster this time
            return
        os.killpg(running.pid, signal.SIGINT)
        if twice:
            time.sleep(rng.uniform(0, 0.1))
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGINT)
        found = exit_code, out, err = finished(running)
        n_lines = len(out.splitlines())
        if exit_code == 0 or out:
            is_printed = n_lines == len(self.lines)
            is_begun = n_lines < len(self.lines) and out.splitlines()[:1] == self.lines[:1]
            was_interrupted = (exit_code, err) == (130, "interrupted\n")
            if not (is_printed and (exit_code, err) == (0, "")) and not (was_interrupted and (is_printed or is_begun)):
                self.wrong.append((twice, found))
            return  # the work was done when the signal came, and its answer perhaps half printed
        self.n_tried += 1
        is_right = found == (130, "", "interrupted\n")
        if twice:
            is_right |= (exit_code, out) == (-signal.SIGINT, "") and err in {"", "interrupted\n"}
        if not is_right or (found := left_over(running.pid)):  # type: ignore[assignment]
            self.wrong.append((twice, found))

    def check_the_next_call(self, right_files: set[str]) -> None:
        """Run once as if nothing had happened: it does its work, and leaves the files that it leaves in a new home."""
        exit_code, out, err = finished(started(self.operation, self.places, self.home))
        found = exit_code, err, len(out.splitlines()), sorted(files(self.home) ^ right_files)
        if found != (0, "", len(self.lines), []):
            self.wrong.append(("next", found))


def test_ctrl_c_at_any_moment_is_130_and_the_next_call_is_right(
    operation: str,
    places: dict[str, str],
    tmp_path: Path,
    trials: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    began = time.monotonic()
    exit_code, right, err = finished(started(operation, places, tmp_path / "whole"))
    assert (exit_code, err) == (0, "")
    right_files = files(tmp_path / "whole")
    tried = Trials(operation, places, tmp_path / "home", time.monotonic() - began, right.splitlines())
    n_trials = trials(1, 100)
    for number in range(3 * n_trials):
        if operation in {"index", "calibrate", "train", "convert"}:
            shutil.rmtree(tried.home, ignore_errors=True)  # else there is nothing left to do
        tried.try_one(random.Random(number), twice=number % 5 == 4)
        if number % 20 == 19:
            tried.check_the_next_call(right_files)
        if tried.n_tried == n_trials:
            break
    tried.check_the_next_call(right_files)
    record_property("held", f"{tried.n_tried - len(tried.wrong)} of {tried.n_tried}")
    assert tried.wrong == []
    assert tried.n_tried >= n_trials / 2


SWALLOWING = """
import ctypes, os
from genrec_edge.cli import interrupts
interrupts.watch()
callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
said = []

@callback
def compare(_a, _b):
    if not said:
        said.append(True)
        os.write(2, b"busy\\n")
    for _ in range(1000):
        pass
    return 0

sort = ctypes.CDLL(None).qsort
sort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, callback]
values = (ctypes.c_int * 4_000_000)()
sort(values, len(values), 4, compare)
"""


def deaf() -> subprocess.Popen[str]:
    """Start a library that computes, with callbacks: what is raised in them is lost."""
    running = subprocess.Popen(
        [sys.executable, "-c", SWALLOWING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    assert running.stderr.readline() == "busy\n"
    return running


def test_what_swallows_exceptions_in_its_callbacks_ends_all_the_same() -> None:
    running = deaf()
    running.send_signal(signal.SIGINT)
    exit_code, out, err = finished(running)
    assert (exit_code, out, err) == (130, "", "interrupted\n")


def test_what_a_weak_reference_swallows_is_not_printed() -> None:
    code = """
import os, signal, sys, time, weakref
from genrec_edge.cli import interrupts
interrupts.watch()
kept = {1}
seen = weakref.ref(kept, lambda _: os.kill(os.getpid(), signal.SIGINT))
del kept
while True:
    time.sleep(1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_second_ctrl_c_ends_a_library_that_computes_at_once() -> None:
    running = deaf()
    running.send_signal(signal.SIGINT)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    assert finished(running)[0] in {130, -signal.SIGINT}


def test_a_forked_child_has_pythons_own_answer() -> None:
    code = """
import os, signal, time
from genrec_edge.cli import interrupts
interrupts.watch()
child = os.fork()
if not child:
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    except KeyboardInterrupt:
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), interrupts.came())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7 False\n", "")


def test_who_wants_ctrl_c_ignored_has_it_ignored() -> None:
    code = "import signal; from genrec_edge.cli import interrupts; interrupts.watch(); print(signal.getsignal(2).name)"
    ignoring = f"trap '' INT; exec {sys.executable} -c \"{code}\""
    done = subprocess.run(["/bin/bash", "-c", ignoring], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("SIG_IGN\n", "")
