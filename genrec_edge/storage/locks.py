"""One lock for whatever only one process may write at a time, and one error about it.

A lock is a file that a process holds, through `filelock`; when the process dies, the system lets go of it. The file
itself may stay. Beside it, while it is held, a file `.holder` names the process, for messages.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from genrec_edge.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filelock import BaseFileLock

HOLDER = ".holder"
"""The file that names the holder of `.lock`."""
_POLL_S = 0.2
_WAIT_HINT = "wait for it, or end it, and repeat the command"


@contextmanager
def locked(
    lock_path: Path,
    what: Path,
    *,
    wait_s: float = 0.0,
    on_wait: Callable[[], object] | None = None,
    on_poll: Callable[[], object] | None = None,
    hint: str = _WAIT_HINT,
) -> Iterator[None]:
    """Hold the lock file `lock_path` while the block runs.

    Args:
        lock_path: its folder exists.
        what: the file or folder that only the holder writes.
        wait_s: how long to wait for another process.
        on_wait: called once when there is another process to wait for.
        on_poll: called several times a second while it waits; it may raise, to wait no longer.
        hint: what to do about another process.

    Raises:
        LockedError: another process has held the lock for `wait_s`.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - only writers need it

    lock, holder_path = FileLock(lock_path), _holder_path(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is not None:
            on_wait()
        try:
            _acquire(lock, wait_s, on_poll)
        except Timeout:
            raise lock_error(what, holder=_read(holder_path), waited_s=wait_s, hint=hint) from None
    try:
        with suppress(OSError):  # it is for messages alone, and the disk may be full
            holder_path.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        with suppress(OSError):
            holder_path.unlink()
        lock.release()


def _acquire(lock: BaseFileLock, wait_s: float, on_poll: Callable[[], object] | None) -> None:
    from filelock import Timeout  # noqa: PLC0415 - only writers need it

    ends_at = time.monotonic() + wait_s
    while on_poll is not None and time.monotonic() < ends_at - _POLL_S:
        on_poll()
        try:
            lock.acquire(timeout=_POLL_S)
        except Timeout:
            continue
        return
    lock.acquire(timeout=max(0.0, ends_at - time.monotonic()))


def lock_error(what: Path, *, holder: str = "", waited_s: float = 0.0, hint: str = _WAIT_HINT) -> LockedError:
    """Return the error about a file or folder that another process writes; `holder` is its id, "" if unknown."""
    process = f"another process ({holder})" if holder else "another process"
    waited = f"; waited {waited_s:g} s for it" if waited_s else ""
    return LockedError(f"{what} is being written by {process}{waited}", hint=hint)


def _holder_path(lock_path: Path) -> Path:
    """Return the file that names the holder: `.holder` for `.lock`, `.a.holder` for `.a.lock`."""
    return lock_path.with_name(f"{lock_path.name.removesuffix('.lock')}{HOLDER}")


def _read(holder_path: Path) -> str:
    try:
        return holder_path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
