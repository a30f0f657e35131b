"""Atomic files, hashes, free disk space, and what errors of the disk become.

Knows nothing of models and catalogs. A full disk is a `DiskFullError` and a failing one a `DiskError`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from genrec_edge.errors import DiskError, DiskFullError, UsageError
from genrec_edge.storage.partial_files import partial_file, remove_dead_partial_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_CHUNK_BYTES = 1 << 20
_PAGE_BYTES = 4096
_FULL_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "files may not be that large here (`ulimit -f`, or the file system's own limit)",
}
"""What is said of errors that mean that there is no room."""


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
        remove_dead_partial_files(path.parent, of=path.name)
        part_path = partial_file(path)
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
        raise disk_full_error(path, e.errno) from e


def disk_full_error(path: Path, code: int = errno.ENOSPC) -> DiskFullError:
    """Return the error about a file that has no room; `code` is the system's number of why."""
    message = f"no room to write {path}: {_FULL_ERRORS[code]} ({_free_bytes(path):,} bytes free)"
    return DiskFullError(message, hint="free some space and repeat the command")


def has_no_room(folder: Path) -> bool:
    """Return whether a page cannot be written into a folder because its disk is full; nothing of it stays.

    For SQLite, which says no more of a full disk than that something failed.
    """
    probe = partial_file(folder / "probe")
    try:
        with probe.open("xb") as file:
            file.write(bytes(_PAGE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as e:
        return e.errno in _FULL_ERRORS
    finally:
        with suppress(OSError):
            probe.unlink()
    return False


def largest_file_bytes() -> int | None:
    """Return how large a file of this process may be, None without a limit."""
    if os.name == "nt":
        return None
    import resource  # noqa: PLC0415 - not on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit


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


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise UsageError if there is something at `path`, unless it is a file and `force` lets it be replaced."""
    if path.exists() and not (force and path.is_file()):
        raise UsageError(f"{path} exists already", hint="set `force` to replace it, or choose another name")


def require_other_file(out: Path, sources: Iterable[Path]) -> None:
    """Refuse to write a file or folder over what is read, by whatever name, link or folder around it.

    Raises:
        UsageError: `out` is one of the sources, or a folder that holds one; `force` does not change that.
    """
    for source in map(Path, sources):
        if not source.exists() or not out.exists():
            continue
        if out.samefile(source) or (out.is_dir() and source.resolve().is_relative_to(out.resolve())):
            message = f"{out} would be written over what is read: {source}"
            raise UsageError(message, hint="choose another name for the output")


def require_free(path: Path, n_bytes: int) -> None:
    """Raise `DiskFullError` unless `n_bytes` more fit on the disk of `path`, which may not exist."""
    free = _free_bytes(path)
    if free < n_bytes:
        message = f"no room for {path}: {n_bytes:,} bytes are needed and {free:,} are free"
        raise DiskFullError(message, hint=f"free {n_bytes - free:,} bytes and repeat the command")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, which has to be a file: a pipe or a device could keep us waiting for ever.

    Raises:
        OSError: as `open`, and for anything else than a file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return os.fdopen(descriptor, "rb")


def sha256_file(path: Path, on_bytes: Callable[[int], object] | None = None) -> str:
    """Return the hex sha256 of a file; `on_bytes` is called with the size of each chunk. Read-only."""
    digest = hashlib.sha256()
    with open_regular(Path(path)) as file:
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
