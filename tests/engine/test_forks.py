"""Real forks of a process that has recommended: clear errors, right answers, and never a process that hangs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.engine import forks
from genrec_edge.errors import ForkError
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HANG_S = 120
"""Far more than any of these programs takes; one that hangs is killed then, and the test fails."""

PROGRAM = """
import json, multiprocessing, os, sys, threading
from genrec_edge import GenRecError, Recommender
from genrec_edge.errors import ForkError

MODEL, CATALOG = sys.argv[1:3]

def said(work):
    try:
        return work()
    except ForkError as e:
        return f"{type(e).__name__} {e.code}: {e.message}; {e.hint}"
    except BaseException as e:
        return f"another error: {e!r}"

def opened(n_threads):
    with Recommender.open(MODEL, CATALOG, n_threads=n_threads) as r:
        return ids(r)

def open_two():
    return opened(2)

def ids(r):
    return [x.item.id for x in r.recommend(["Jaws"], k=3).items]

def in_fork(work):
    ours, theirs = os.pipe()
    if not (pid := os.fork()):
        answer = json.dumps(said(work)).encode()
        os.write(theirs, answer)
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    return answer

def main():
BODY
    print(json.dumps(found))

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def run(tiny_llama: Path, tricky_path: Path, own_home: Path, tmp_path: Path) -> Any:
    """Returns a function that runs the lines of a program, which leave something in `found`, and returns that."""

    def run_body(body: str) -> Any:
        path = tmp_path / "program.py"
        indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
        path.write_text(PROGRAM.replace("BODY", indented), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(path), str(tiny_llama), str(tricky_path)],
            capture_output=True,
            timeout=HANG_S,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return run_body


CALLS = (
    "ids(r)",
    'r.recommend_many([["Jaws"], ["Alien"], ["Fargo"]])',
    'r.rerank(["Jaws", "Fargo"])',
    'r.judge(["Jaws"])',
    'r.compare("Jaws", "Fargo")',
    'r.describe(["Jaws"])',
    'r.queries("Jaws")',
    "r.calibrate(1)",
    'r.resolve("Jaws")',
    "r.forget()",
    "r.session.clone()",
)


@pytest.mark.slow
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_recommender_is_refused_in_a_fork(run: Any, n_threads: int) -> None:
    before, children, after = run(
        f"""
r = Recommender.open(MODEL, CATALOG, n_threads={n_threads})
before = ids(r)
children = [{", ".join(f"in_fork(lambda: {call})" for call in CALLS)}]
found = before, children, ids(r)
r.close()
"""
    )
    for child in children:
        assert child.startswith("ForkError usage: this recommender was opened in process ")
        assert "start processes with `spawn`" in child
    assert len(children) == len(CALLS)
    assert before == after


@pytest.mark.slow
def test_closing_and_cancelling_in_a_fork_do_nothing(run: Any) -> None:
    child, before, after = run(
        """
with Recommender.open(MODEL, CATALOG, n_threads=2) as r:
    before = ids(r)
    def work():
        with r:
            r.cancel()
        return said(lambda: ids(r))
    child = in_fork(work)
    found = child, before, ids(r)
"""
    )
    assert child.startswith("ForkError")
    assert before == after


@pytest.mark.slow
@pytest.mark.parametrize("thread", ["main", "another"])
def test_a_new_recommender_in_a_fork_has_one_thread_or_is_refused(run: Any, thread: str) -> None:
    expected, refused, single = run(
        f"""
def parent():
    expected = opened(2)
    return expected, in_fork(lambda: opened(2)), in_fork(lambda: opened(1))
found = []
if "{thread}" == "main":
    found += parent()
else:
    worker = threading.Thread(target=lambda: found.extend(parent()))
    worker.start()
    worker.join()
"""
    )
    assert "which has computed with several threads" in refused
    assert "give 1 as `n_threads`" in refused
    assert single == expected


@pytest.mark.slow
def test_a_fork_of_a_process_that_only_used_one_thread_may_use_several(run: Any) -> None:
    expected, child = run(
        """
found = opened(1), in_fork(lambda: opened(2))
"""
    )
    assert child == expected


@pytest.mark.slow
def test_a_fork_during_a_request_of_another_thread_does_not_hang(run: Any) -> None:
    for child in run(
        """
r = Recommender.open(MODEL, CATALOG, n_threads=2)
ids(r)
over = threading.Event()
def ask():
    while not over.is_set():
        r.forget()
        ids(r)
asking = threading.Thread(target=ask)
asking.start()
found = [in_fork(lambda: ids(r)) for _ in range(20)] + [in_fork(lambda: r.close())]
over.set()
asking.join()
"""
    ):
        assert child is None or child.startswith("ForkError")


@pytest.mark.slow
def test_pools_of_processes(run: Any) -> None:
    expected, forked, spawned = run(
        """
expected = opened(2)
with multiprocessing.get_context("fork").Pool(2) as pool:
    forked = [pool.apply_async(said, (open_two,)).get(60) for _ in range(2)]
with multiprocessing.get_context("spawn").Pool(1) as pool:
    spawned = pool.apply_async(opened, (2,)).get(100)
found = expected, forked, spawned
"""
    )
    assert all(text.startswith("ForkError") for text in forked)
    assert spawned == expected


def test_the_process_itself_is_no_fork() -> None:
    forks.refuse_threads_after_fork(8)


def test_what_is_said_of_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_pid_of_threads", -1)
    forks.refuse_threads_after_fork(1)
    with pytest.raises(ForkError, match="is a fork of -1, which has computed with several threads; 2 threads"):
        forks.refuse_threads_after_fork(2)
    with pytest.raises(ForkError, match="this recommender was opened in process -1"):
        forks.refuse_fork(-1, "this recommender")
