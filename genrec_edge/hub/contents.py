"""Whether a model's file still holds what its manifest says, without reading all of it each time.

All of a file is hashed once. What the system says of the file then (place, size, times of the last change of its bytes
and of its entry) is kept in a record among the caches, with a hash of samples from everywhere in the file. As long as
both are the same the file is trusted; else it is hashed again. What cannot be noticed that way is a disk that returns
other bytes than were written, between the samples and without an error: that is for `genrec-edge models verify`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from genrec_edge.errors import GenRecError
from genrec_edge.storage import paths
from genrec_edge.storage.files import atomic_write, open_regular, sha256_file

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_FORMAT = 1
_SAMPLES = 64
_SAMPLE_BYTES = 4096
_SETTLED_NS = 2_000_000_000
"""A file that was changed less than this before it was hashed could be changed again within one tick of the clock of
the file system, and look the same: it is hashed once more the next time."""
_MAX_RECORD_BYTES = 4096


def holds(path: Path, sha256: str) -> bool:
    """Return whether the file at `path` has this sha256. Reads all of it only if it was changed since the last time.

    Writes a record among the caches, if it can.

    Raises:
        OSError: it cannot be read.
    """
    stamp, sample = _stamp(path), _sample(path)
    record = paths.cache_path() / "models" / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]}.json"
    known = {"format": _FORMAT, "sha256": sha256, "stamp": stamp, "sample": sample}
    if _read(record) == known:
        return True
    started = time.time_ns()
    if sha256_file(path) != sha256:
        return False
    if _stamp(path) == stamp and started - max(stamp[-2:]) > _SETTLED_NS:
        _write(record, known)
    return True


def _stamp(path: Path) -> list[int]:
    """Return what the system says of a file; its last time (ctime) changes with every write and cannot be set back."""
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _sample(path: Path) -> str:
    """Return a hash of pieces of the file, evenly spread, its first and last bytes among them."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        for i in range(_SAMPLES):
            file.seek(i * max(0, size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _read(record: Path) -> object:
    with suppress(OSError, ValueError, RecursionError), open_regular(record) as file:
        return json.loads(file.read(_MAX_RECORD_BYTES))
    return None


def _write(record: Path, known: dict[str, object]) -> None:
    try:
        with atomic_write(record) as file:
            file.write(json.dumps(known).encode())
    except (OSError, GenRecError) as e:
        log.debug("the record of %s was not written, so that it will be hashed again: %s", record, e)
