"""Calls in a thread of their own: results, errors, signals at any moment; all long operations under real signals."""

from __future__ import annotations

import contextvars
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from genrec_edge.engine.run_apart import run_apart
from tests.support.folders import ROOT
from tests.support.interrupted_calls import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Trials = Callable[[int, int], int]


def test_the_main_thread_does_not_work_itself_and_others_do() -> None:
    threads = [run_apart(threading.current_thread) for _ in range(3)]
    assert threads[0] is not threading.main_thread()
    assert threads == threads[:1] * 3  # always the same one
    found: list[bool] = []
    other = threading.Thread(target=lambda: found.append(run_apart(threading.current_thread) is other))
    other.start()
    other.join()
    assert found == [True]
    assert run_apart(lambda: run_apart(threading.current_thread)) is threads[0]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_is_raised_apart_is_raised_to_the_caller(error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_apart(work)
    assert caught.value is error
    assert run_apart(lambda: 7) == 7


def test_context_variables_are_those_of_the_caller() -> None:
    variable = contextvars.ContextVar("variable", default="")
    variable.set("caller's")
    assert run_apart(variable.get) == "caller's"


def test_nothing_is_held_after_a_call() -> None:
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    run_apart(lambda held=held: None)  # type: ignore[misc]
    del held
    run_apart(lambda: None)
    gc.collect()
    assert gone() is None


@pytest.fixture
def interrupting() -> Callable[[threading.Event], None]:
    """Returns a function that sends this process Ctrl-C once an event is set."""

    def interrupt(when: threading.Event) -> None:
        def send() -> None:
            when.wait(60)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=send).start()

    return interrupt


def test_ctrl_c_ends_the_call_before_it_is_raised(interrupting: Callable[[threading.Event], None]) -> None:
    begun, stopped = threading.Event(), threading.Event()
    order: list[str] = []

    def work() -> str:
        begun.set()
        assert stopped.wait(60)
        order.append("ended")
        return "result"

    def stop() -> None:
        order.append("stop")
        if order.count("stop") == 2:  # it is told again and again
            stopped.set()

    interrupting(begun)
    with pytest.raises(KeyboardInterrupt):
        run_apart(work, stop, discard=order.append)
    assert order[:2] == ["stop", "stop"]
    assert order[-2:] == ["ended", "result"]  # the result is not lost but given back


def test_at_a_second_ctrl_c_nobody_waits_and_the_next_call_works(
    interrupting: Callable[[threading.Event], None],
) -> None:
    begun, told, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        ended.wait(60)

    interrupting(begun)
    interrupting(told)
    with pytest.raises(KeyboardInterrupt):
        run_apart(work, told.set)
    assert not ended.is_set()
    assert run_apart(lambda: "next") == "next"  # beside the one that goes on
    ended.set()


def test_signals_at_any_moment_leave_a_thread_that_works(trials: Trials) -> None:
    """Without a wait: most come while a call begins or ends."""
    n_seen = 0
    for trial in range(trials(100, 5000)):
        timer = threading.Timer(1e-5 * (trial % 50), os.kill, [os.getpid(), signal.SIGINT])
        try:
            timer.start()
            while True:
                assert run_apart(lambda trial=trial: trial) == trial  # type: ignore[misc]
        except KeyboardInterrupt:
            n_seen += 1
        timer.join()
    assert n_seen == trials(100, 5000)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_ctrl_c_at_any_moment_of_a_long_operation(
    tiny_llama: Path, tricky_path: Path, small_data: Path, own_home: Path, tmp_path: Path, trials: Trials, name: str
) -> None:
    data_path = tmp_path / "data"
    data_path.symlink_to(small_data)
    n_trials = trials(5, 100)
    files = map(str, (tiny_llama, tricky_path, data_path))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.interrupted_calls", name, str(n_trials), *files],
        capture_output=True,
        cwd=ROOT,
        check=False,
        timeout=60 * n_trials,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == n_trials
    right = {
        f"{error} {when} the call" for error in ("KeyboardInterrupt", "TerminatedError") for when in ("in", "after")
    }
    assert [trial for trial in found if trial["seen"] not in right or not trial["next_is_right"]] == []
    if n_trials >= 50:  # of a few, all may come late on a busy machine
        assert any("in the call" in trial["seen"] for trial in found)
    assert b"Exception ignored" not in done.stderr
