"""Calls that Ctrl-C ends at once and leaves in order: they work in a thread of their own while the main one waits.

Python handles signals in the main thread, between two of its instructions. While a C library computes there, Ctrl-C
waits for it; in a callback of the library the KeyboardInterrupt is printed and lost; and between two statements it
leaves half of what they set together. So the main thread does not work itself: it hands the call to another thread and
waits. Any exception that a signal raises there, KeyboardInterrupt or another, ends the call as `cancel` does, and is
raised when the call has ended. Other threads are not disturbed by signals, and work themselves.
"""

from __future__ import annotations

import contextvars
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from genrec_edge.storage.process_memory import no_room_error

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_POLL_S = 0.05


def run_apart(
    work: Callable[[], _T],
    stop: Callable[[], object] = lambda: None,
    discard: Callable[[_T], object] = lambda _result: None,
) -> _T:
    """Return what `work` returns or raise what it raises, out of reach of signals; see the module text.

    At a second signal the main thread does not wait any longer; the call then ends by itself.

    Args:
        work: the call. Its callbacks are called in its thread.
        stop: called from the main thread after a signal has raised an exception there, again and again until the call
            has ended, which it should make it do.
        discard: called with the result of a call that had ended well when the exception came.

    Raises:
        OutOfMemoryError: a thread could not be started, this one or one that `work` needs.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    job = _Job(work)
    try:
        _idle_thread().give(job)
        while not job.wait(_POLL_S):  # with a limit Ctrl-C ends it on every system
            pass
    except BaseException:
        if job.claim():  # it had not begun, and will not
            raise
        stop()
        while not job.wait(_POLL_S):
            stop()
        if job.error is None:
            discard(job.result)
        raise
    if job.error is not None:
        try:
            raise job.error
        finally:
            del job  # its traceback would hold on to it
    return job.result


class _Job(Generic[_T]):
    """A call and what came of it. Built of locks alone: `threading.Event` can stay locked for ever after a signal."""

    result: _T

    def __init__(self, work: Callable[[], _T]) -> None:
        self.error: BaseException | None = None
        self._work = contextvars.copy_context().run, work
        self._claimed = threading.Lock()
        self._ended = threading.Lock()
        self._ended.acquire()
        self._has_ended = False

    def claim(self) -> bool:
        """Return whether the call is the caller's, to run it or to leave it: true once."""
        return self._claimed.acquire(blocking=False)

    def run(self) -> None:
        """Do the work."""
        run, work = self._work
        try:
            self.result = run(work)
        except BaseException as e:  # raised again by the main thread
            self.error = no_room_error(e) or e
        del self._work, run, work

    def end(self) -> None:
        """Let the main thread go on."""
        self._has_ended = True
        self._ended.release()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the end of the work, and return whether it has come."""
        if not self._has_ended:
            self._ended.acquire(timeout=seconds)
        return self._has_ended


class _OtherThread:
    """The thread that works for the main one. It is used again: a new one would start new threads of OpenMP, too."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.job: _Job[object] | None = None
        self._jobs: SimpleQueue[_Job[object]] = SimpleQueue()
        threading.Thread(target=self._serve, name="genrec-edge", daemon=True).start()

    @property
    def is_idle(self) -> bool:
        return self.pid == os.getpid() and self.job is None

    def give(self, job: _Job[_T]) -> None:
        self.job = job  # type: ignore[assignment]
        self._jobs.put(job)  # type: ignore[arg-type]

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            is_wanted = job.claim()
            if is_wanted:
                job.run()
            self.job = None  # before the main thread goes on, and looks for an idle thread
            if is_wanted:
                job.end()
            del job


_threads: list[_OtherThread] = []
"""Those of this process; more than one only where a call did not end at the second signal."""


def _idle_thread() -> _OtherThread:
    for thread in _threads:
        if thread.is_idle:
            return thread
    try:
        _threads.append(thread := _OtherThread())
    except RuntimeError as e:
        raise no_room_error(e) or e from e
    return thread
