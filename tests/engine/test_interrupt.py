"""The flag that ends a running call: when it is up, and which error stands for it."""

from __future__ import annotations

import threading

import pytest

from genrec_edge.engine.interrupt import Interrupt
from genrec_edge.errors import CancelledError, DeadlineError


def is_up(interrupt: Interrupt) -> bool:
    """Ask as llama.cpp asks."""
    return bool(interrupt.callback(interrupt.data))


def test_the_flag_is_up_from_the_interruption_to_the_next_request() -> None:
    interrupt = Interrupt()
    assert not is_up(interrupt)
    interrupt.raise_reason()  # nothing to raise
    with interrupt.deadline(None):
        interrupt.set(CancelledError)
        assert is_up(interrupt)
        with pytest.raises(CancelledError):
            interrupt.raise_reason()
    with interrupt.deadline(None):
        assert not is_up(interrupt)
        interrupt.raise_reason()


def test_a_deadline_that_has_passed_raises_its_own_error() -> None:
    interrupt = Interrupt()
    with interrupt.deadline(1e-9):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
        assert is_up(interrupt)
        with pytest.raises(DeadlineError, match="took longer than `timeout_s`"):
            interrupt.raise_reason()


def test_a_block_that_ends_in_time_leaves_no_timer() -> None:
    interrupt = Interrupt()
    with interrupt.deadline(3600):
        (timer,) = (thread for thread in threading.enumerate() if isinstance(thread, threading.Timer))
    timer.join()
    assert not is_up(interrupt)
