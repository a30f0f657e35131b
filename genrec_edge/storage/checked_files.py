"""What is remembered of files that were checked, so that they are checked again only after a change.

A stamp is what the system says of a file: it changes with every write, whatever a program sets back. A record is a JSON
file among the caches, or beside what it is about, that costs only time when it is lost; it is read with distrust.
"""

from __future__ import annotations

import json
import logging
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from genrec_edge.errors import GenRecError
from genrec_edge.storage.files import atomic_write, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

Stamp = list[int]
"""Device, inode, size, time of the last change of the bytes, and of the entry (ctime, which cannot be set back)."""

SETTLED_NS = 2_000_000_000
"""A file that was changed less than this before it was checked could be changed again within one tick of the clock of
the file system, and have the same stamp."""
_MAX_RECORD_BYTES = 1 << 20


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file.

    Raises:
        OSError: there is no such file, or it is not a file but something that could keep us waiting.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path.name} is not a file")
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def are_settled(stamps: Iterable[Stamp], checked_ns: int) -> bool:
    """Return whether files with these stamps cannot have changed unseen since the check that began at `checked_ns`."""
    return max(max(stamp[-2:]) for stamp in stamps) < checked_ns - SETTLED_NS


def read_record(path: Path) -> object:
    """Return what a record holds, None if it cannot be read."""
    with suppress(OSError, ValueError, RecursionError), open_regular(path) as file:
        return json.loads(file.read(_MAX_RECORD_BYTES))
    return None


def write_record(path: Path, document: object) -> None:
    """Write a record, if that is possible."""
    try:
        with atomic_write(path) as file:
            file.write(json.dumps(document).encode())
    except (OSError, GenRecError) as e:
        log.debug("%s was not written, so that what it is about will be checked again: %s", path, e)
