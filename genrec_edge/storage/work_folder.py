"""The hidden folder a conversion works in: beside its result, locked, and kept after a kill for `--resume`.

Everything in it is either whole or called `.….part`. When all is done it is renamed to the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import UsageError
from genrec_edge.storage import paths
from genrec_edge.storage.files import atomic_write, locked, sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_JOB = "job.json"


def partial_path(out: Path) -> Path:
    """Return the folder in which `out` is made."""
    return out.with_name(f".{out.name}.partial")


@contextmanager
def workplace(out: Path, job: Mapping[str, Any], *, resume: bool) -> Iterator[Path]:
    """Yield the folder to work in, the only one at work there.

    What an earlier run of the same job left whole is still there if `resume`, and removed otherwise.

    Raises:
        UsageError: `resume`, and what is there belongs to another job.
        LockedError: another process works on `out`.
    """
    # Not in the folder, which is renamed at the end, nor beside it, where it would stay for ever.
    locks = paths.cache_path() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    partial = partial_path(out)
    busy = f"another process is converting to {out}"
    with locked(
        locks / hashlib.sha256(os.fsencode(partial.absolute())).hexdigest()[:32],
        busy,
        hint="wait for it, or name another --out",
    ):
        partial.mkdir(parents=True, exist_ok=True)
        _begin(partial, job, resume=resume)
        yield partial


def finish(partial: Path, out: Path, kept: set[str]) -> None:
    """Turn the folder into the result, with the files and folders named in `kept` and nothing else.

    `out` does not exist, or is an empty folder.
    """
    for path in partial.iterdir():
        if path.name not in kept:
            _remove(path)
    sync(partial)
    partial.rename(out)
    sync(out.parent)


def _begin(partial: Path, job: Mapping[str, Any], *, resume: bool) -> None:
    job_path = partial / _JOB
    found = job_path.read_bytes() if job_path.exists() else None
    wanted = json.dumps(job, indent=2, sort_keys=True).encode()
    if resume and found is not None and found != wanted:
        changed = _changed(found, job)
        raise UsageError(
            f"{partial} was begun by another job: {changed} differ",
            hint="repeat the options it was begun with, or leave out --resume to begin anew",
        )
    for path in partial.iterdir():
        whole = resume and found == wanted and not path.name.endswith(".part")
        if path.name != _JOB and not whole:
            _remove(path)
    if found != wanted:
        with atomic_write(job_path) as file:
            file.write(wanted)


def _changed(found: bytes, job: Mapping[str, Any]) -> str:
    try:
        before = json.loads(found)
    except ValueError:
        return "all options"
    now = json.loads(json.dumps(job))
    keys = sorted(before.keys() | now.keys()) if isinstance(before, dict) else sorted(now)
    return ", ".join(key for key in keys if not isinstance(before, dict) or before.get(key) != now.get(key))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def identity(path: Path) -> list[Any]:
    """Return what tells a file apart without reading it: its name, size and time of change."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
