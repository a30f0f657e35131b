"""One writer at a time in a folder, and no traces of writers that died.

A writer works in a hidden folder inside and renames what it made. Whoever holds the lock is the only writer,
so every work folder it finds belongs to a process that died, and is removed.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from genrec_edge.errors import LockedError
from genrec_edge.storage.files import sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_WAIT_S = 600.0
"""A pull over a slow line takes minutes; the one that waits then finds the model there."""

_LOCK = ".lock"
_HOLDER = ".holder"
_WORK = ".work-"


@contextmanager
def writing(root: Path, on_event: Callable[[str, int, int], object]) -> Iterator[None]:
    """Hold the lock of `root`, which is created, and start without leftovers.

    `on_event` is told ("wait", 0, 0) when another process holds the lock.

    Raises:
        LockedError: for `LOCK_WAIT_S`.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - only writers need it

    root.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(root / _LOCK), root / _HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_event("wait", 0, 0)
        try:
            lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout:
            raise _locked(root, holder) from None
    try:
        holder.write_text(str(os.getpid()))
        for leftover in root.glob(f"{_WORK}*"):
            _remove_tree(leftover)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def work_folder(root: Path) -> Iterator[Path]:
    """Yield a hidden folder inside `root` and remove it with all it still holds. Only while `writing`."""
    work = Path(mkdtemp(prefix=_WORK, dir=root))
    try:
        yield work
    finally:
        _remove_tree(work)


def install(made: Path, folder: Path, work: Path) -> None:
    """Put the finished folder `made` in the place of `folder`, and what was there into `work`, to go with it.

    A folder with files cannot be renamed over another one. Killed between the two renames, there is no `folder`, never
    half of one.
    """
    if folder.exists():
        folder.rename(work / "replaced")
    made.rename(folder)
    sync(folder.parent)


def _locked(root: Path, holder: Path) -> LockedError:
    try:
        pid = holder.read_text()
    except OSError:
        pid = "unknown"
    message = f"{root} is being written by another process ({pid}); waited {LOCK_WAIT_S:g} s for it"
    return LockedError(message, hint="wait for the other process, or end it, and repeat the command")


def _remove_tree(folder: Path) -> None:
    """Remove a folder in which a dying pip may still be writing."""
    for _ in range(20):
        with suppress(OSError):
            shutil.rmtree(folder)
        if not folder.exists():
            return
        time.sleep(0.05)
