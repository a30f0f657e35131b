"""Starting processes that Ctrl-C does not reach: it is for the one that started them, which ends them."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from genrec_edge.engine.run_apart import run_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess


def start_process(target: Callable[..., None], *arguments: object) -> tuple[SpawnProcess, Connection]:
    """Start a process that calls `target(connection, *arguments)`; return it and the other end of the connection.

    A terminal sends Ctrl-C to every process. This one never hears of it, not even while Python starts in it. An
    exception of a signal is raised here once the process has started, or never will, and then it is killed: in between
    it would read half of what it was told. When either process dies, the connection of the other ends.
    """

    def start() -> tuple[SpawnProcess, Connection]:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=target, args=(theirs, *arguments), daemon=True)
        with _ctrl_c_blocked():
            process.start()
        theirs.close()
        return process, ours

    return run_apart(start, discard=lambda started: started[0].kill())


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Block SIGINT in this thread, and so in what is started by it; Windows has no such thing."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # the first process would start it, and that unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
