"""How a running call of llama.cpp is interrupted: by a deadline, or from another thread."""

from __future__ import annotations

import ctypes
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from genrec_edge.engine.bindings import library
from genrec_edge.errors import CancelledError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MESSAGES = {CancelledError: "cancelled", DeadlineError: "the request took longer than `timeout_s`"}


class Interrupt:
    """A flag that llama.cpp polls between graph nodes without entering Python, and the error to raise for it.

    A Python callback would take the GIL some 900 times a token. libc's `strlen` of a two-byte buffer is false while the
    first byte is 0 and true once it is 1, which is all the callback has to return.

    Attributes:
        callback: to be given to the context as `abort_callback`, and `data` as its data; neither may outlive this.
    """

    def __init__(self) -> None:
        self._bytes = ctypes.create_string_buffer(2)
        self._reason: type[CancelledError | DeadlineError] | None = None
        libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        self.callback = ctypes.cast(libc.strlen, library().ggml_abort_callback)
        self.data = ctypes.cast(self._bytes, ctypes.c_void_p)

    def set(self, reason: type[CancelledError | DeadlineError]) -> None:
        """Interrupt the running call, from any thread; if there is none, nothing happens."""
        self._reason = reason
        self._bytes[0] = b"\x01"

    def raise_reason(self) -> None:
        """Raise the error that the call was interrupted with, if it was."""
        if self._reason is not None:
            raise self._reason(_MESSAGES[self._reason])

    @contextmanager
    def deadline(self, seconds: float | None) -> Iterator[None]:
        """Clear the flag, and interrupt with DeadlineError once `seconds` have passed; None sets no limit."""
        self._bytes[0] = b"\x00"
        self._reason = None
        timer = None
        if seconds is not None:
            timer = threading.Timer(seconds, self.set, [DeadlineError])
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
