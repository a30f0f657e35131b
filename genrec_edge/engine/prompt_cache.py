"""Evaluated prompts on disk, so that a process that begins with a known history need not evaluate it again.

A file holds the KV cells of one prompt as llama.cpp writes them, which it would read into any model of the same shape.
So each begins with a key, all that its numbers depend on, and ends with a checksum of the whole: one with another key
is not looked at, a damaged one is deleted. What was not used for the longest time goes first. The cells of a history
are as private as the history, and the files are readable for their owner alone.
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
from genrec_edge.errors import DiskError
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

FORMAT = 1
"""To be raised when anything changes what the cells of a prompt are: types of the KV cache, attention, positions."""
MAX_BYTES = 512 << 20
MAX_FILES = 256
LEAST_TOKENS = 16
"""Prompts that save fewer tokens than this are neither kept nor looked for: they are evaluated as fast."""

_MAGIC = b"genrec-edge kv\n"
_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 1 << 20
_SUFFIX = ".kv"
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class CachedPrompt:
    """A prompt on disk: its token ids, and where its cells begin in the file."""

    path: Path
    token_ids: tuple[TokenId, ...]
    start: int


class PromptCache:
    """The kept prompts of one model. Processes may share the folder; what one removes, another evaluates again.

    Args:
        folder: created with the first prompt.
        key: all that the cells of a prompt depend on besides its tokens, ready for JSON.
    """

    def __init__(self, folder: Path, key: Mapping[str, str | int | None]) -> None:
        self._folder = folder
        self._key = {"format": FORMAT, **key}
        self._prefix = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()[:16]

    def nearest(self, token_ids: Sequence[TokenId], more_than: int) -> CachedPrompt | None:
        """Return the kept prompt that has most of the beginning of `token_ids`, if `LEAST_TOKENS` past `more_than`."""
        best, most = None, more_than + LEAST_TOKENS - 1
        for path in self._folder.glob(f"{self._prefix}-*{_SUFFIX}"):
            kept = self._read_header(path)
            if kept is not None and (n := common_prefix(kept.token_ids, token_ids)) > most:
                best, most = kept, n
        return best

    def read(self, kept: CachedPrompt) -> bytes | None:
        """Return the cells of a kept prompt; None if the file has gone or is damaged, in which case it is deleted."""
        try:
            whole = kept.path.read_bytes()
        except OSError:
            return None
        body, digest = whole[:-_DIGEST_BYTES], whole[-_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            log.warning("the kept prompt %s is damaged and was deleted", kept.path)
            _delete(kept.path)
            return None
        with suppress(OSError):
            os.utime(kept.path)  # its turn to go comes later
        return body[kept.start :]

    def keep(self, token_ids: Sequence[TokenId], cells: bytes) -> None:
        """Write the cells of a prompt, and delete the oldest prompts that there is no room for.

        A disk that is full, failing or not to be written is logged: nothing is lost but time.
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
        except (OSError, DiskError) as e:
            log.warning("the prompt was not kept: %s", e)
        _delete_oldest(self._folder)

    def _read_header(self, path: Path) -> CachedPrompt | None:
        """Return what a file says it holds, or None if it is of another key or no such file."""
        begin = len(_MAGIC) + _LENGTH.size
        try:
            with path.open("rb") as file:
                opening = file.read(begin)
                if len(opening) < begin or not opening.startswith(_MAGIC):
                    return None
                (n_bytes,) = _LENGTH.unpack_from(opening, len(_MAGIC))
                header = json.loads(file.read(min(n_bytes, _MAX_HEADER_BYTES)))
            if header["key"] != self._key:
                return None
            return CachedPrompt(path, tuple(TokenId(int(token)) for token in header["tokens"]), begin + n_bytes)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def clear(folder: Path) -> int:
    """Delete all kept prompts of all models, and return how many there were."""
    return sum(_delete(path) for path in folder.glob(f"*{_SUFFIX}"))


def _delete_oldest(folder: Path) -> None:
    """Delete what exceeds `MAX_FILES` and `MAX_BYTES`, the longest unused first."""
    n_bytes = 0
    for n, (_, size, path) in enumerate(sorted(_files(folder), reverse=True), start=1):
        n_bytes += size
        if n > MAX_FILES or n_bytes > MAX_BYTES:
            _delete(path)


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield time of last use, size and path of each kept prompt."""
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
