"""Atomic files, hashes, free disk space, and what errors of the disk become.

Knows nothing of models and catalogs. A full disk is a `DiskFullError` and a failing one a `DiskError`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from genrec_edge.errors import DiskError, DiskFullError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK_BYTES = 1 << 20
_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` when the block ends, and is removed if the block raises.

    Readers see the old file or the complete new one, also after a power cut: the bytes are on the disk before the name
    is. Partial files that killed processes of this machine left are removed. The folder is created.

    Raises:
        DiskFullError, DiskError: the disk is full or fails; `path` is unchanged.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead_partial_files(path)
        part_path = path.with_name(f".{path.name}.{_process_key(os.getpid())}.{secrets.token_hex(4)}.part")
        try:
            with (
                disk_errors(path),
                part_path.open("xb") as file,
            ):  # inside, so that the error says how much was free before cleaning up
                yield file
                file.flush()
                os.fsync(file.fileno())
            part_path.replace(path)
        except BaseException:
            part_path.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a full or failing disk raises in the block into `DiskFullError` or `DiskError` about `path`."""
    try:
        yield
    except OSError as e:
        if e.errno == errno.EIO:
            message = f"the disk of {path} failed ({e.strerror})"
            raise DiskError(message, hint="check the disk and the system log, or use another disk") from e
        if e.errno not in _FULL_ERRORS:
            raise
        free = _free_bytes(path)
        message = f"no room to write {path}: the disk is full ({free:,} bytes free)"
        raise DiskFullError(message, hint="free some space and repeat the command") from e


@contextmanager
def path_errors(path: Path) -> Iterator[None]:
    """Turn every `OSError` of the block into an error for the user: about the file it names, else about `path`.

    Raises:
        DiskFullError, DiskError: as in `disk_errors`.
        UsageError: a file or folder cannot be read, created or written; the message names it.
    """
    try:
        with disk_errors(path):
            yield
    except OSError as e:
        named = path if e.filename is None else os.fsdecode(e.filename)
        message = f"{named} cannot be used ({e.strerror or e})"
        raise UsageError(message, hint="check its name and the permissions of its folder") from e


def require_free(path: Path, n_bytes: int) -> None:
    """Raise `DiskFullError` unless `n_bytes` more fit on the disk of `path`, which may not exist."""
    free = _free_bytes(path)
    if free < n_bytes:
        message = f"no room for {path}: {n_bytes:,} bytes are needed and {free:,} are free"
        raise DiskFullError(message, hint=f"free {n_bytes - free:,} bytes and repeat the command")


def sha256_file(path: Path, on_bytes: Callable[[int], object] | None = None) -> str:
    """Return the hex sha256 of a file; `on_bytes` is called with the size of each chunk. Read-only."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()


def file_identity(path: Path) -> list[Any]:
    """Return what tells a file from its other versions without reading it: its path, size and time of change."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def sync(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and keeps its names in a journal
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(path: Path) -> int:
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _process_key(pid: int | str) -> str:
    """Return what identifies a process in a file name: with the host, as containers may share a folder."""
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return f"{host}-{pid}"


def _remove_dead_partial_files(path: Path) -> None:
    """Remove the partial files of `path` that killed processes left."""
    if os.name == "nt":
        return  # where asking whether a process is alive could end it
    prefix = f".{path.name}.{_process_key('')}"
    for part_path in path.parent.iterdir():
        name = part_path.name
        if not (name.startswith(prefix) and name.endswith(".part")):
            continue
        pid = name[len(prefix) :].partition(".")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            with suppress(FileNotFoundError):
                part_path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or too large a number to ask for
        return True
    return True
