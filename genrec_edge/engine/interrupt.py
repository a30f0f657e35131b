"""How a call of the library is ended early: by its deadline, by `cancel` from another thread, or by a signal."""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from genrec_edge.engine.bindings import library
from genrec_edge.engine.run_apart import run_apart
from genrec_edge.errors import CancelledError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")
_MESSAGES = {CancelledError: "cancelled", DeadlineError: "the request took longer than `timeout_s`"}
_POLL_S = 0.05


class Call:
    """One call of the library: when it has to be done, and whether it was ended. Any thread may end it.

    Args:
        timeout_s: seconds from now; None sets no limit.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        self._ends_at = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._reason: type[CancelledError | DeadlineError] | None = None
        self._interrupt: Interrupt | None = None
        self._lock = threading.Lock()

    @property
    def left_s(self) -> float:
        """Seconds until its deadline, at least 0; infinite without one."""
        return max(0.0, self._ends_at - time.monotonic())

    def end(self, reason: type[CancelledError | DeadlineError] = CancelledError) -> None:
        """End the call with an error, at the next place where it looks; the first reason counts."""
        with self._lock:
            self._reason = self._reason or reason
            if self._interrupt is not None:
                self._interrupt.raise_flag()

    def check(self) -> None:
        """Raise the error that the call was ended with, if it was, or if its deadline has passed."""
        if self._reason is None and self._ends_at < time.monotonic():
            self.end(DeadlineError)
        if self._reason is not None:
            raise self._reason(_MESSAGES[self._reason])

    def wait_for(self, lock: threading.Lock) -> None:
        """Acquire a lock; without it, raise the error that the call was ended with.

        Raises:
            CancelledError, DeadlineError: while it waited.
        """
        while not lock.acquire(timeout=min(_POLL_S, self.left_s)):
            self.check()

    @contextmanager
    def on(self, interrupt: Interrupt) -> Iterator[None]:
        """Let the flag of a context be that of this call while the block runs."""
        with self._lock:
            self._interrupt = interrupt
            interrupt.lower_flag(is_up=self._reason is not None)
        timer = None
        if self._ends_at < math.inf:
            timer = threading.Timer(min(self.left_s, threading.TIMEOUT_MAX), self.end, [DeadlineError])
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:  # a timer that goes off now ends nothing: another call may have begun
                self._interrupt = None
                interrupt.lower_flag()


def run_call(
    work: Callable[[Call], _T], timeout_s: float | None = None, discard: Callable[[_T], object] = lambda _result: None
) -> _T:
    """Return what `work` returns of a new call, which is ended when a signal raises an exception; see `run_apart`."""
    call = Call(timeout_s)
    return run_apart(lambda: work(call), call.end, discard)


class Interrupt:
    """The flag of a context, which llama.cpp polls between graph nodes without entering Python.

    A Python callback would take the GIL some 900 times a token. libc's `strlen` of a two-byte buffer is false while the
    first byte is 0 and true once it is 1, which is all the callback has to return.

    Attributes:
        callback: to be given to the context as `abort_callback`, and `data` as its data; neither may outlive this.
    """

    def __init__(self) -> None:
        self._bytes = ctypes.create_string_buffer(2)
        libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        self.callback = ctypes.cast(libc.strlen, library().ggml_abort_callback)
        self.data = ctypes.cast(self._bytes, ctypes.c_void_p)

    def raise_flag(self) -> None:
        """End the running evaluation, and those that follow until the flag is lowered."""
        self._bytes[0] = b"\x01"

    def lower_flag(self, *, is_up: bool = False) -> None:
        """Let evaluations run."""
        self._bytes[0] = b"\x01" if is_up else b"\x00"
