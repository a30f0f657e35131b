"""Text files as a stream, decompressed if they are gzip, bzip2 or xz."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class ReadShare:
    """Tells the share of a file that has been read, 0..1, whatever decoders read it."""

    def __init__(self, raw: IO[bytes], n_bytes: int) -> None:
        self._raw = raw
        self._n_bytes = max(n_bytes, 1)

    def __call__(self) -> float:
        """Return the share read so far."""
        return min(self._raw.tell() / self._n_bytes, 1.0)


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[tuple[IO[str], ReadShare]]:
    """Open a file as UTF-8 text, decompressed; a byte order mark is skipped.

    Raises:
        UsageError: a line is not UTF-8, or the compressed file is damaged.
    """
    try:
        with path.open("rb") as raw, _unpacked(raw) as binary:
            text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline=newline)
            yield text, ReadShare(raw, path.stat().st_size)
    except UnicodeDecodeError as e:
        number = _first_bad_line(path)
        what = "looks like UTF-16, not UTF-8" if e.object[:2] in {b"\xff\xfe", b"\xfe\xff"} else "not UTF-8 text"
        message = f"{path}, line {number}: {what}"
        raise UsageError(message, hint="save the file as UTF-8") from e
    except _DAMAGED as e:
        message = f"{path} is damaged and cannot be unpacked ({e})"
        raise UsageError(message, hint="get the file again") from e


@contextmanager
def _unpacked(raw: IO[bytes]) -> Iterator[IO[bytes]]:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        binary: IO[bytes] = cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    elif magic.startswith(b"\xfd7zXZ\0"):
        binary = lzma.LZMAFile(raw)  # noqa: SIM115 - closed below
    elif magic.startswith(b"BZh"):
        binary = bz2.BZ2File(raw)
    else:
        yield raw
        return
    with binary:
        yield binary


def _first_bad_line(path: Path) -> int:
    with path.open("rb") as raw, _unpacked(raw) as binary:
        for number, line in enumerate(binary, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1
