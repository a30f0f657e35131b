"""Ctrl-C at the command line: one word and exit code 130, whatever the program does at that moment.

Python raises KeyboardInterrupt between two of its own instructions: not while a library computes, and in vain inside a
callback of a library or of a weak reference. So a thread listens beside: what has not ended by itself after a while is
ended. That is safe at any moment, as a kill is: files appear whole or not at all. Loaded first, and knows nothing of
the rest.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from sys import UnraisableHookArgs
    from types import FrameType

EXIT_CODE = 130
_SAY_S = 0.5
_END_S = 2.0
"""After this time the word is said, and the process ended, if it has done neither."""

_came = threading.Event()
_saying = threading.Lock()


def watch() -> None:
    """Take over Ctrl-C in this process; nothing changes where the caller wants it ignored, or handles it."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or sys.platform == "win32":
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)
    atexit.register(_ignore)  # as the first, so that it is called last: Python then lets a signal kill
    sys.unraisablehook = _said_by_us(sys.unraisablehook)
    signal.signal(signal.SIGINT, raise_once)
    threading.Thread(target=_listen, args=(reader,), daemon=True).start()


def raise_once(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt, and let a second Ctrl-C kill."""
    _came.set()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def came() -> bool:
    """Whether Ctrl-C was pressed since `watch`: whatever went wrong afterwards went wrong because of it."""
    return _came.is_set()


def say() -> None:
    """Say on stderr that the command was interrupted, unless it was said."""
    if _saying.acquire(blocking=False):
        try:
            os.write(2, b"interrupted\n")
        except OSError:
            return  # nobody reads it


def finish() -> None:
    """Let Ctrl-C end the process at once from now on: all that is left to do is to exit.

    After Ctrl-C that is done here: a thread of a library may still compute, and would do so in what Python takes down.
    """
    if came():
        _end()
    if signal.getsignal(signal.SIGINT) is raise_once:
        signal.signal(signal.SIGINT, _end)


def _listen(reader: int) -> None:
    _wait_for_ctrl_c(reader, None)
    _came.set()
    if not _wait_for_ctrl_c(reader, _SAY_S):
        say()
        _wait_for_ctrl_c(reader, _END_S - _SAY_S)
    _end()


def _wait_for_ctrl_c(reader: int, seconds: float | None) -> bool:
    """Wait for a SIGINT, at most for a time; other signals that Python handles come the same way."""
    while select.select([reader], [], [], seconds)[0]:
        if os.read(reader, 1)[0] == signal.SIGINT:
            return True
    return False


def _said_by_us(report: Callable[[UnraisableHookArgs], object]) -> Callable[[UnraisableHookArgs], None]:
    """Leave a KeyboardInterrupt that a callback swallowed to the thread that listens; Python would print it."""

    def hook(swallowed: UnraisableHookArgs) -> None:
        if not (came() and swallowed.exc_type is KeyboardInterrupt):
            report(swallowed)

    return hook


def _end(_signal: int = 0, _frame: FrameType | None = None) -> NoReturn:
    say()
    os._exit(EXIT_CODE)


def _ignore() -> None:
    """Nothing is left to be interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _forget() -> None:
    """Give a forked child Python's own answer to Ctrl-C; it shares the pipe, and has no thread that listens."""
    if signal.getsignal(signal.SIGINT) is raise_once:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
