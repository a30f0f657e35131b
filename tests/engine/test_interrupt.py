"""How a call is ended: the flag that llama.cpp sees, the error that stands for it, and that it ends no other call."""

from __future__ import annotations

import threading
import time

import pytest

from genrec_edge.engine.interrupt import Call, Interrupt
from genrec_edge.errors import CancelledError, DeadlineError


def is_up(interrupt: Interrupt) -> bool:
    """Ask as llama.cpp asks."""
    return bool(interrupt.callback(interrupt.data))


def test_the_flag_is_up_from_the_end_of_a_call_to_the_next_one() -> None:
    interrupt = Interrupt()
    assert not is_up(interrupt)
    call = Call()
    with call.on(interrupt):
        call.check()  # nothing to raise
        assert not is_up(interrupt)
        call.end(CancelledError)
        assert is_up(interrupt)
        with pytest.raises(CancelledError):
            call.check()
    with Call().on(interrupt):
        assert not is_up(interrupt)


def test_a_deadline_that_has_passed_raises_its_own_error() -> None:
    interrupt = Interrupt()
    call = Call(1e-9)
    with call.on(interrupt):
        wait_for_timers()
        assert is_up(interrupt)
        with pytest.raises(DeadlineError, match="took longer than `timeout_s`"):
            call.check()


def test_a_deadline_counts_from_the_making_of_the_call_and_needs_no_timer() -> None:
    call = Call(1e-9)
    time.sleep(1e-3)
    with pytest.raises(DeadlineError):
        call.check()
    assert call.left_s == 0


def test_the_first_reason_counts() -> None:
    call = Call()
    call.end(DeadlineError)
    call.end(CancelledError)
    with pytest.raises(DeadlineError):
        call.check()


def test_a_call_that_was_ended_before_it_works_finds_the_flag_up() -> None:
    interrupt, call = Interrupt(), Call()
    call.end(CancelledError)
    with call.on(interrupt):
        assert is_up(interrupt)


def test_a_call_that_is_over_cannot_end_the_next_one() -> None:
    interrupt, late = Interrupt(), Call(3600)
    with late.on(interrupt):
        pass
    with Call().on(interrupt):
        late.end(DeadlineError)  # as by a timer that went off when it was being cancelled
        assert not is_up(interrupt)


def test_a_block_that_ends_in_time_leaves_no_timer() -> None:
    interrupt = Interrupt()
    with Call(3600).on(interrupt):
        (timer,) = (thread for thread in threading.enumerate() if isinstance(thread, threading.Timer))
    timer.join()
    assert not is_up(interrupt)


@pytest.mark.parametrize("timeout_s", [1e12, float("inf")])
def test_a_deadline_further_off_than_a_thread_can_wait_is_none(timeout_s: float) -> None:
    interrupt = Interrupt()
    with Call(timeout_s).on(interrupt):
        assert not is_up(interrupt)


def test_waiting_for_a_lock_ends_with_the_call() -> None:
    lock = threading.Lock()
    Call().wait_for(lock)  # free: at once
    with pytest.raises(DeadlineError):
        Call(1e-9).wait_for(lock)
    call = Call()
    threading.Timer(0.01, call.end).start()
    with pytest.raises(CancelledError):
        call.wait_for(lock)
    lock.release()
    Call(1e-9).wait_for(lock)  # a free lock is taken even by a call that is late


def wait_for_timers() -> None:
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()
