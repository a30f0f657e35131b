"""Evaluated prompts on disk, so that a process that begins with a known history need not evaluate it again.

A file holds the KV cells of one prompt as llama.cpp writes them, which it would read into any model of the same shape.
So each begins with a key, all that its numbers depend on, and ends with a checksum of the whole: one with another key
is ignored, a damaged one is deleted. What was unused for the longest time is deleted first. The cells of a history
are as private as the history: the files are readable for their owner alone, and what killed processes left of them is
deleted at the next start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.coordinates import TokenId
from genrec_edge.engine.kv_tree import common_prefix
from genrec_edge.errors import DiskError, DiskFullError, UsageError, several
from genrec_edge.storage.files import atomic_write, open_regular
from genrec_edge.storage.partial_files import partial_files, remove_dead_partial_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

FORMAT = 1
"""Raise it with every change to what the cells of a prompt are: types of the KV cache, attention, positions."""
MAX_BYTES = 512 << 20
MAX_FILES = 256
MIN_SAVED_TOKENS = 16
"""Prompts that save fewer tokens than this are neither written nor looked for: evaluating them takes no longer."""

_MAGIC = b"genrec-edge kv\n"
_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 1 << 20
_MAX_TOKEN = 1 << 31
_SUFFIX = ".kv"
_DIGEST_BYTES = hashlib.sha256().digest_size
_MAX_FILE_BYTES = MAX_BYTES + 2 * _MAX_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class CachedPrompt:
    """A prompt on disk: its token ids, and where its cells begin in the file."""

    path: Path
    token_ids: tuple[TokenId, ...]
    start: int


class PromptCache:
    """The prompts of one model on disk. Processes may share the folder; what one deletes, another evaluates again.

    Args:
        folder: created with the first prompt.
        key: all that the cells of a prompt depend on besides its tokens, ready for JSON.
    """

    def __init__(self, folder: Path, key: Mapping[str, str | int | None]) -> None:
        self._folder = folder
        self._key = {"format": FORMAT, **key}
        remove_dead_partial_files(folder)
        self._prefix = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()[:16]

    def nearest(self, token_ids: Sequence[TokenId], more_than: int) -> CachedPrompt | None:
        """Return the cached prompt with the longest prefix of `token_ids`, or None.

        It must have at least `MIN_SAVED_TOKENS` more tokens in common with them than `more_than`.
        """
        best, most = None, more_than + MIN_SAVED_TOKENS - 1
        for path in self._folder.glob(f"{self._prefix}-*{_SUFFIX}"):
            cached = self._read_header(path)
            if cached is None:
                continue
            n_common = common_prefix(cached.token_ids, token_ids)
            if n_common > most:
                best, most = cached, n_common
        return best

    def read(self, cached: CachedPrompt) -> bytes | None:
        """Return the cells of a cached prompt; None if the file is gone, or damaged, in which case it is deleted."""
        try:
            with open_regular(cached.path) as file:
                whole = file.read(_MAX_FILE_BYTES)
        except OSError:
            return None
        body, digest = whole[:-_DIGEST_BYTES], whole[-_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            self.discard(cached)
            return None
        with suppress(OSError):
            os.utime(cached.path)  # it is deleted later
        return body[cached.start :]

    def discard(self, cached: CachedPrompt) -> None:
        """Delete a cached prompt that is damaged, or whose cells are not what they should be."""
        log.warning("the kept prompt %s is damaged and was deleted", cached.path)
        _delete(cached.path)

    def keep(self, token_ids: Sequence[TokenId], cells: bytes) -> None:
        """Write the cells of a prompt, and delete the least recently used prompts that exceed the limits.

        Errors of the disk are logged and not raised: nothing is lost but time.
        """
        if len(cells) > MAX_BYTES:
            return
        header = json.dumps({"key": self._key, "tokens": list(token_ids)}).encode()
        body = b"".join([_MAGIC, _LENGTH.pack(len(header)), header, cells])
        name = hashlib.sha256(header).hexdigest()[:32]
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_write(self._folder / f"{self._prefix}-{name}{_SUFFIX}") as file:
                os.chmod(file.name, 0o600)  # noqa: PTH101 - the file has no name of its own yet
                file.write(body)
                file.write(hashlib.sha256(body).digest())
        except (OSError, DiskError, DiskFullError) as e:
            why = getattr(e, "strerror", None) or e
            log.warning("the prompt was not kept in %s: %s", self._folder, why)
        _delete_oldest(self._folder)

    def _read_header(self, path: Path) -> CachedPrompt | None:
        """Return what a file says it holds, or None if it has another key or is not such a file."""
        begin = len(_MAGIC) + _LENGTH.size
        try:
            with open_regular(path) as file:
                start = file.read(begin)
                if len(start) < begin or not start.startswith(_MAGIC):
                    return None
                (n_bytes,) = _LENGTH.unpack_from(start, len(_MAGIC))
                header = json.loads(file.read(min(n_bytes, _MAX_HEADER_BYTES)))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(header, dict) or header.keys() != {"key", "tokens"} or header["key"] != self._key:
            return None
        if not isinstance(header["tokens"], list) or not all(map(_is_token, header["tokens"])):
            return None
        return CachedPrompt(path, tuple(map(TokenId, header["tokens"])), begin + n_bytes)


def clear(folder: Path) -> int:
    """Delete all cached prompts of all models, also those that are being written; return how many there were.

    Raises:
        UsageError: some cannot be deleted; the message names them.
    """
    kept = list(folder.glob(f"*{_SUFFIX}"))
    found = [*kept, *partial_files(folder, dead=False)]
    for path in found:
        _delete(path)
    if left := [str(path) for path in found if path.exists() or path.is_symlink()]:
        message = f"what was evaluated for a user cannot be deleted: {several(left, most=3, separator=', ')}"
        raise UsageError(message, hint="check the permissions of the folder, and repeat the command")
    return len(kept)


def _is_token(value: object) -> bool:
    return type(value) is int and 0 <= value < _MAX_TOKEN


def _delete_oldest(folder: Path) -> None:
    """Delete what exceeds `MAX_FILES` and `MAX_BYTES`, the least recently used first."""
    n_bytes = 0
    for n, (_, size, path) in enumerate(sorted(_files(folder), reverse=True), start=1):
        n_bytes += size
        if n > MAX_FILES or n_bytes > MAX_BYTES:
            _delete(path)


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield time of last use, size and path of each cached prompt."""
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(OSError):  # another process may have deleted it
            status = path.stat()
            yield status.st_mtime_ns, status.st_size, path


def _delete(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False  # gone already, or being read on Windows: it stays until it is the oldest again
    return True
