"""Pipes as files: what can be read only once is copied, so that readers may go over it as often as they need."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.errors import GenRecError, UsageError
from genrec_edge.storage.files import path_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

STDIN = Path("/dev/stdin")


@contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """Yield a file with what a path holds: the path itself, or a copy of a pipe that is removed after the block.

    "-" is standard input. Errors raised in the block name the pipe, not its copy.

    Raises:
        UsageError: the path is a terminal or another device, or cannot be read.
        DiskFullError: no room for the copy.
    """
    path = STDIN if str(path) == "-" else path
    try:
        mode = path.stat().st_mode
    except OSError:  # the reader says what is wrong with it
        yield path
        return
    if stat.S_ISCHR(mode):
        raise UsageError(f"{path} is a terminal or another device", hint="name a file, or pipe the rows in")
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="genrec-edge-") as folder:
        copy = Path(folder) / path.name
        with path_errors(copy), _opened(path) as pipe, copy.open("wb") as file:
            shutil.copyfileobj(pipe, file)
        try:
            yield copy
        except GenRecError as e:
            raise _renamed(e, str(copy), str(path)) from e


@contextmanager
def in_memory(data: bytes, name: str) -> Iterator[Path]:
    """Yield a file with these bytes that leaves nothing on a disk, where the system can (Linux); errors call it `name`.

    Elsewhere it is in a folder that only its owner may read, and is removed after the block.
    """
    with ExitStack() as cleanup:
        if hasattr(os, "memfd_create"):
            file = cleanup.enter_context(os.fdopen(os.memfd_create("genrec-edge"), "wb"))
            path = Path(f"/proc/self/fd/{file.fileno()}")
        else:
            path = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="genrec-edge-"))) / "stdin"
            file = cleanup.enter_context(path.open("wb"))
        file.write(data)
        file.flush()
        try:
            yield path
        except GenRecError as e:
            raise _renamed(e, str(path), name) from e


def _renamed(error: GenRecError, copy: str, name: str) -> GenRecError:
    """Return an error of the same class that calls a copy what it is a copy of."""
    return type(error)(error.message.replace(copy, name), hint=error.hint)


def _opened(path: Path) -> BinaryIO:
    """Open a pipe; standard input by its number, which works where /dev/stdin cannot be opened again."""
    return os.fdopen(os.dup(0), "rb") if path == STDIN else path.open("rb")
