"""Descriptors of SQLite files that stay open, so that reading a file's bytes does not free SQLite's locks of it.

On POSIX systems, closing any descriptor of a file frees all locks that the process has on it: another thread's query
would go on reading while another process writes. So a descriptor is opened once for each file, and closed when the file
is gone. Source: SQLite, "How To Corrupt An SQLite Database File", section 2.2.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_KEPT = 100
_kept: dict[tuple[int, int, bool], int] = {}
"""Descriptors by device, inode and whether they can write; the oldest first."""
_lock = threading.Lock()


@contextmanager
def descriptor(path: Path, *, writes: bool = False) -> Iterator[int]:
    """Yield a descriptor of a regular file, for `read_at` and `write_at` alone: it may be another thread's, too.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    if os.name == "nt":  # no such locks there, and an open file could not be replaced
        number = _opened(path, writes=writes)
        try:
            yield number
        finally:
            os.close(number)
        return
    with _lock:
        status = path.stat()
        key = (status.st_dev, status.st_ino, writes)
        if key not in _kept:
            _close_some()
            _kept[key] = _opened(path, writes=writes)
        found = _kept[key]
    yield found


def make_empty(path: Path, mode: int) -> None:
    """Make an empty file with these rights; its descriptor stays open, as another thread may open the file at once.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be made.
    """
    with _lock:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), mode)
        if os.name == "nt":
            os.close(number)
            return
        _close_some()
        status = os.fstat(number)
        _kept[status.st_dev, status.st_ino, True] = number


def close_gone() -> None:
    """Close the descriptors of files that are gone: until then the disk keeps what was in them."""
    with _lock:
        _close_all([key for key, number in _kept.items() if not os.fstat(number).st_nlink])


def read_at(number: int, n_bytes: int, offset: int) -> bytes:
    """Return at most `n_bytes` bytes of a file from an offset on."""
    if os.name != "nt":
        return os.pread(number, n_bytes, offset)
    os.lseek(number, offset, os.SEEK_SET)
    return os.read(number, n_bytes)


def write_at(number: int, data: bytes, offset: int) -> None:
    """Write bytes at an offset of a file.

    Raises:
        OSError: not all of them could be written.
    """
    if os.name == "nt":
        os.lseek(number, offset, os.SEEK_SET)
        n_written = os.write(number, data)
    else:
        n_written = os.pwrite(number, data, offset)
    if n_written < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _opened(path: Path, *, writes: bool) -> int:
    flags = (os.O_RDWR if writes else os.O_RDONLY) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    number = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return number


def _close_some() -> None:
    """Close the descriptors of files that are gone, and the oldest one where there are many."""
    gone = [key for key, number in _kept.items() if not os.fstat(number).st_nlink]
    if not gone and len(_kept) >= _MAX_KEPT:
        gone = [next(iter(_kept))]
    _close_all(gone)


def _close_all(keys: list[tuple[int, int, bool]]) -> None:
    for key in keys:
        os.close(_kept.pop(key))
