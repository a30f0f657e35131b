"""What a job has done so far, in a folder beside its output: a key, and a file for each finished chunk.

The key says all that answers depend on; parts of another job are refused. A part appears whole or not at all, and the
output likewise; a part that is no longer what was written, as the hash in its name says, is answered again. Knows
lines; neither users nor models.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from genrec_edge.errors import UsageError
from genrec_edge.storage.files import atomic_write, open_regular, path_errors, sync
from genrec_edge.storage.job_key import is_same_key, other_job_error, read_key, write_key
from genrec_edge.storage.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

log = logging.getLogger(__name__)

SCHEMA = "genrec-edge/batch@1"
_KEY, _LOCK = "key.json", ".lock"
_PARTS = "[0-9]*.jsonl"
_PART = re.compile(r"([0-9]{8,})(?:-([0-9a-f]{16}))?\.jsonl")
"""The name of a part: its number, and the start of the sha256 of its lines, which version 0.1 did not write."""


class FinishedChunks:
    """The finished chunks of one job; made by `open_checkpoint`."""

    def __init__(self, folder: Path, sizes: Sequence[int]) -> None:
        self._folder = folder
        self._sizes = sizes
        self._paths: dict[int, Path] = {}
        for path in folder.iterdir():
            if match := _PART.fullmatch(path.name):
                self._paths[int(match[1])] = path

    def missing(self) -> list[int]:
        """Return the numbers of the chunks that are not finished; damaged ones are removed."""
        return [number for number in range(len(self._sizes)) if not self._is_finished(number)]

    def keep(self, number: int, lines: Sequence[bytes]) -> None:
        """Keep the lines of a finished chunk; they are on the disk when this returns."""
        path = self._folder / f"{number:08d}-{_hash(b''.join(lines))}.jsonl"
        with path_errors(path), atomic_write(path) as file:
            file.writelines(lines)
        self._paths[number] = path

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of all chunks, in order.

        Raises:
            UsageError: a part was changed meanwhile.
        """
        for number in range(len(self._sizes)):
            yield from self._read(self._paths[number], number)

    def _is_finished(self, number: int) -> bool:
        path = self._paths.get(number)
        if path is None:
            return False
        try:
            self._read(path, number)
        except UsageError as e:
            log.warning("%s; its users are answered again", e.message)
            with path_errors(path):
                path.unlink()
            return False
        return True

    def _read(self, path: Path, number: int) -> list[bytes]:
        with path_errors(path), open_regular(path) as file:
            content = file.read()
        lines, size = content.splitlines(keepends=True), self._sizes[number]
        match = _PART.fullmatch(path.name)
        if len(lines) != size or match is None or match[2] not in {None, _hash(content)}:
            message = f"{path} is not the {size} lines that were written"
            raise UsageError(message, hint="repeat the command")
        return lines


@contextmanager
def open_checkpoint(
    out_path: Path, key: Mapping[str, Any], sizes: Sequence[int], *, force: bool
) -> Iterator[FinishedChunks]:
    """Hold the job that writes `out_path`, and yield what is done of it.

    Args:
        out_path: the output; its parts are in a folder of that name and ".parts".
        key: all that the answers depend on.
        sizes: how many lines each chunk has.
        force: replace an output that is there, and throw parts of another job away.

    Raises:
        UsageError: the output is there already, or parts of another job; the message says what differs.
        LockedError: another process is at it.
    """
    folder = _folder_of(out_path)
    key = json.loads(json.dumps({"schema": SCHEMA, **key}))
    if out_path.exists() and not folder.exists() and not force:
        shutil.rmtree(_leaving(folder), ignore_errors=True)
        raise _exists(out_path)
    with path_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / _LOCK, out_path, hint="wait for it, or choose another `out_path`"):
            shutil.rmtree(_leaving(folder), ignore_errors=True)  # of a process that was killed when it had finished
            _claim(folder, out_path, key, force=force)
            yield FinishedChunks(folder, sizes)


def publish(out_path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have the output written and appear, then remove the parts. Only inside of `open_checkpoint`."""
    folder = _folder_of(out_path)
    with path_errors(out_path):
        with atomic_write(out_path) as file:
            write(file)
        # Renamed first: a folder that is there holds every part, so a kill in between loses none.
        folder.rename(_leaving(folder))
        sync(folder.parent)
        shutil.rmtree(_leaving(folder), ignore_errors=True)


def _claim(folder: Path, out_path: Path, key: Mapping[str, Any], *, force: bool) -> None:
    """Make the folder that of the job with this key, which it may be already."""
    found = read_key(folder / _KEY)
    if found is None:
        if foreign := [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]:
            message = f"{folder} is not the folder of a job: it holds {foreign[0]}"
            raise UsageError(message, hint="choose another `out_path`")
        if out_path.exists() and not force:
            raise _exists(out_path)
    elif is_same_key(key, found):
        return
    elif not force:
        hint = "repeat the call it was made with, choose another `out_path`, or set `force` to begin anew"
        raise other_job_error(key, found, folder, hint)
    for part in folder.glob(_PARTS):
        part.unlink()  # before the key changes: parts are always those of the key beside them
    write_key(folder / _KEY, key)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _folder_of(out_path: Path) -> Path:
    return out_path.with_name(f"{out_path.name}.parts")


def _leaving(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.done")


def _exists(out_path: Path) -> UsageError:
    return UsageError(f"{out_path} is there already", hint="choose another `out_path`, or set `force`")
