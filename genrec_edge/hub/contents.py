"""Whether a model's file still holds what its manifest says, without reading all of it each time.

All of a file is hashed once. What the system says of the file then (place, size, times of the last change of its bytes
and of its entry) is kept in a record among the caches, with a hash of samples from everywhere in the file. As long as
both are the same the file is trusted; else it is hashed again. What cannot be noticed that way is a disk that returns
other bytes than were written, between the samples and without an error: that is for `genrec-edge models verify`.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from genrec_edge.storage import checked_files, paths
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = 1
_SAMPLES = 64
_SAMPLE_BYTES = 4096


def holds(path: Path, sha256: str) -> bool:
    """Return whether the file at `path` has this sha256. Reads all of it only if it was changed since the last time.

    Writes a record among the caches, if it can.

    Raises:
        OSError: it cannot be read.
    """
    stamp, sample = checked_files.stamp_of(path), _sample(path)
    record = paths.cache_path() / "models" / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]}.json"
    known = {"format": _FORMAT, "sha256": sha256, "stamp": stamp, "sample": sample}
    if checked_files.read_record(record) == known:
        return True
    started = time.time_ns()
    if sha256_file(path) != sha256:
        return False
    if checked_files.stamp_of(path) == stamp and checked_files.are_settled([stamp], started):
        checked_files.write_record(record, known)
    return True


def _sample(path: Path) -> str:
    """Return a hash of pieces of the file, evenly spread, its first and last bytes among them."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        for i in range(_SAMPLES):
            file.seek(i * max(0, size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
