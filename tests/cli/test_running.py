"""Ctrl-C and time limits while a command computes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NoReturn, cast

import pytest

from genrec_edge.cli.running import interruptible
from genrec_edge.errors import CancelledError
from tests.support.commands import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from genrec_edge.recommender import Recommender

pytestmark = pytest.mark.usefixtures("offline_home")


class Endless:
    """A recommender whose answer takes until it is cancelled."""

    def __init__(self, at_work: Callable[[], object]) -> None:
        self._at_work = at_work
        self._cancelled = threading.Event()

    def answer(self) -> NoReturn:
        self._at_work()
        assert self._cancelled.wait(60), "nobody cancelled"
        raise CancelledError("cancelled")

    def cancel(self) -> None:
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()


@pytest.fixture
def own_handler() -> Iterator[None]:
    """Sets Python's own answer to Ctrl-C for a test, and gives the test runner its own back."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def test_ctrl_c_cancels_the_request(own_handler: None) -> None:
    endless = Endless(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        interruptible(cast("Recommender", endless), endless.answer)
    assert endless.is_cancelled
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # a second one kills


ENDLESS_SEARCH = """
import signal, sys
from genrec_edge import cli
from genrec_edge.engine import llama_engine
signal.signal(signal.SIGINT, signal.default_int_handler)
evaluate = llama_engine.LlamaEngine.evaluate

def endless(self, runs, worth):
    sys.stderr.write("searching\\n")
    sys.stderr.flush()
    while True:
        for _ in evaluate(self, list(runs), worth):
            pass

llama_engine.LlamaEngine.evaluate = endless
cli.main()
"""


DEAF_SEARCH = """
import signal, sys, threading
from genrec_edge import cli, recommender
signal.signal(signal.SIGINT, signal.default_int_handler)

def answer(self, request):
    sys.stderr.write("searching\\n")
    sys.stderr.flush()
    threading.Event().wait()

def cancel(self):
    sys.stderr.write("cancelling\\n")
    sys.stderr.flush()

recommender.Recommender.answer = answer
recommender.Recommender.cancel = cancel
cli.main()
"""


def interrupted(code: str, arguments: list[str], *, after: list[str]) -> tuple[int, str, str]:
    """Run `code` and send SIGINT after each of the lines it prints on stderr; return exit code, stdout, the rest."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        try:
            for line in after:
                assert running.stderr.readline() == f"{line}\n"
                running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=120)
        finally:
            running.kill()  # only where the test has failed it is still there
    return running.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("output", [[], ["--json"]])
def test_ctrl_c_during_a_search_is_one_word_and_exit_130(recommend_command: list[str], output: list[str]) -> None:
    done = interrupted(ENDLESS_SEARCH, [*recommend_command, *output], after=["searching"])
    assert done == (130, "", "interrupted\n")


@pytest.mark.slow
def test_a_second_ctrl_c_kills(recommend_command: list[str]) -> None:
    exit_code, out, _ = interrupted(DEAF_SEARCH, recommend_command, after=["searching", "cancelling"])
    assert (exit_code, out) == (-signal.SIGINT, "")


@pytest.mark.slow
def test_a_timeout_is_exit_10(recommend_command: list[str]) -> None:
    done = process([*recommend_command, "--timeout", "0.01"], code=ENDLESS_SEARCH)
    assert (done.returncode, done.stdout) == (10, "")
    assert done.stderr.splitlines()[-1].startswith("error: the request took longer than ")
