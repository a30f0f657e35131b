"""What llama.cpp cannot do after a fork, and the errors that say so instead of a process that hangs.

A fork copies the memory of a process and only one of its threads. Locks that others held stay held in the copy, and the
threads of OpenMP, which llama.cpp waits for, do not exist there: a matrix product waits for ever. So an object that was
opened before a fork is refused after it, and after a fork of a process that computed with several threads so is a new
one with more than one.
"""

from __future__ import annotations

import os

from genrec_edge.errors import ForkError

_HINT = "open a recommender in each process, and start processes with `spawn`, not with `fork`"

_pid_of_threads: int | None = None
"""The process in whose memory the threads of OpenMP were started."""


def is_forked(pid: int) -> bool:
    """Return whether this process is not the one with this id, but a fork of it."""
    return pid != os.getpid()


def refuse_fork(pid: int, what: str) -> None:
    """Raise ForkError if this process is not the one with this id, which opened `what`."""
    if is_forked(pid):
        message = f"{what} was opened in process {pid} and cannot be used in its fork {os.getpid()}"
        raise ForkError(message, hint=_HINT)


def refuse_threads_after_fork(n_threads: int) -> None:
    """Raise ForkError if a process that this one is a fork of has computed with several threads, as this one would."""
    if n_threads > 1 and _pid_of_threads is not None and is_forked(_pid_of_threads):
        message = f"process {os.getpid()} is a fork of {_pid_of_threads}, which has computed with several threads"
        raise ForkError(
            f"{message}; {n_threads} threads would wait for them for ever", hint=f"give 1 as `n_threads`, or {_HINT}"
        )


def note_threads(n_threads: int) -> None:
    """Remember that this process computes with so many threads."""
    global _pid_of_threads  # noqa: PLW0603 - it is a fact about the process
    if n_threads > 1 and _pid_of_threads is None:
        _pid_of_threads = os.getpid()
