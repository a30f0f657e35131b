"""Folders that appear whole or not at all.

A folder is made under a lock in a hidden place on the same disk, and renamed into place when it is complete. There are
two kinds of hidden places:

* A *work folder* `.work-…` inside a root with many results, such as the model store, whose lock the writer holds. It
  is removed at the end, and if its writer dies, by the next one.
* A *partial folder* `.NAME.partial` beside one result NAME. It may be kept after an error or a kill, for the same job
  to go on in: `job.json` inside says which job that is. Every other file in it is either whole or ends in `.part`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import LockedError
from genrec_edge.storage import paths
from genrec_edge.storage.files import sync
from genrec_edge.storage.job_key import is_same_key, other_job_error, read_key, write_key
from genrec_edge.storage.locks import HOLDER, locked
from genrec_edge.storage.partial_files import partial_files, remove_dead_partial_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

LOCK_WAIT_S = 600.0
"""A pull over a slow line takes minutes; the process that waits then finds the model there."""

_LOCK = ".lock"
_WORK = ".work-"
_JOB = "job.json"


@contextmanager
def locked_root(
    root: Path,
    on_wait: Callable[[], object] | None = None,
    *,
    wait_s: float | None = None,
    on_poll: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Hold the lock of a folder with many results, which is created, and start without leftovers.

    `on_wait` is called when another process holds the lock, `on_poll` several times a second while it does.

    Raises:
        LockedError: it has held the lock for `wait_s`, None for ten minutes.
    """
    root.mkdir(parents=True, exist_ok=True)
    wait_s = LOCK_WAIT_S if wait_s is None else wait_s
    with locked(root / _LOCK, root, wait_s=wait_s, on_wait=on_wait, on_poll=on_poll):
        for leftover in root.glob(f"{_WORK}*"):
            _remove(leftover)
        remove_dead_partial_files(root)
        yield


def remove_leftovers(root: Path) -> None:
    """Remove what killed writers left in a folder with many results, unless a writer is at work there."""
    is_left = any(root.glob(f"{_WORK}*")) or (root / HOLDER).exists() or partial_files(root, dead=True)
    if is_left:
        with suppress(LockedError, OSError), locked_root(root, wait_s=0):
            pass


def remove_root(root: Path) -> None:
    """Remove a folder with many results, unless a writer is at work there.

    Who waits for its lock meanwhile gets that of a new folder: `filelock` sees that the file it has locked is gone.

    Raises:
        LockedError: a writer is at work.
        OSError: it cannot be removed.
    """
    with locked_root(root, wait_s=0):
        for path in root.iterdir():
            if path.name not in {_LOCK, HOLDER}:
                _remove(path)
        _remove(root)


@contextmanager
def work_folder(root: Path) -> Iterator[Path]:
    """Yield a hidden folder inside `root` and remove it with all it still holds. Only inside of `locked_root`."""
    work = Path(mkdtemp(prefix=_WORK, dir=root))
    try:
        yield work
    finally:
        _remove(work)


def partial_path(out: Path) -> Path:
    """Return the hidden folder in which `out` is made."""
    return out.with_name(f".{out.name}.partial")


@contextmanager
def partial_folder(out: Path, job: Mapping[str, Any] | None, *, resume: bool = False) -> Iterator[Path]:
    """Yield the hidden folder in which `out` is made; no other process works in it.

    Args:
        out: the result, which `install` puts in place.
        job: all that the files in the folder depend on. None for a job that cannot be resumed: then the folder is
            removed if the block raises.
        resume: keep what an earlier run of the same job left whole. Otherwise the folder is empty at first.

    Raises:
        UsageError: `resume`, and what is there belongs to another job.
        LockedError: another process makes `out`.
    """
    partial = partial_path(out)
    with locked(_lock_of(partial), out, hint="wait for it, or choose another `out`"):
        _remove(_replaced_path(partial))
        partial.mkdir(parents=True, exist_ok=True)
        try:
            _begin(partial, job, resume=resume)
            yield partial
        except BaseException:
            if job is None:
                _remove(partial)
            raise


def install(made: Path, out: Path, *, kept: Collection[str] | None = None, replace: bool = False) -> None:
    """Rename the finished hidden folder `made` to `out`.

    A folder with files cannot be renamed over another one: `replace` moves what is there out of the way first and
    removes it afterwards. Killed between the two renames, there is no `out`, never half of one.

    Args:
        made: a work folder, a folder in one, or a partial folder.
        out: the result, on the same disk.
        kept: names in `made` that belong to the result; all others are removed. None keeps everything.
        replace: whether a result that is there is replaced. Otherwise `out` does not exist, or is an empty folder.
    """
    for path in made.iterdir():
        if kept is not None and path.name not in kept:
            _remove(path)
    sync(made)
    replaced = _replaced_path(made)
    if replace and out.exists():
        out.rename(replaced)
    made.rename(out)
    sync(out.parent)
    _remove(replaced)


def _replaced_path(made: Path) -> Path:
    return made.with_name(f"{made.name}.replaced")


def _lock_of(partial: Path) -> Path:
    """Return the lock of a partial folder.

    It is not in the folder, which is renamed at the end, nor beside it, where it would stay for ever.
    """
    locks = paths.cache_path() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks / hashlib.sha256(os.fsencode(partial.absolute())).hexdigest()[:32]


def _begin(partial: Path, job: Mapping[str, Any] | None, *, resume: bool) -> None:
    """Keep what belongs to the job and is whole, if it is resumed, and remove everything else."""
    job_path = partial / _JOB
    found = read_key(job_path) if resume else None
    is_same = job is not None and found is not None and is_same_key(job, found)
    if job is not None and found is not None and not is_same:
        hint = "repeat the options it was begun with, or leave out `resume` to begin anew"
        raise other_job_error(job, found, partial, hint)
    for path in partial.iterdir():
        is_kept = is_same and not path.name.endswith(".part")
        if not is_kept and path.name != _JOB:
            _remove(path)
    if job is None:
        job_path.unlink(missing_ok=True)
    elif not is_same:
        write_key(job_path, job)


def _remove(path: Path) -> None:
    """Remove a file, a link, or a folder, in which a dying pip may still be writing."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for _ in range(20):
        with suppress(OSError):
            shutil.rmtree(path)
        if not path.exists():
            return
        time.sleep(0.05)
