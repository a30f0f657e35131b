"""Text files as a stream, unpacked if they are gzip, bzip2, xz or a zip archive."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_CHARACTERS = 1 << 24
"""A longer line is refused: a small packed file can hold one that does not fit in memory."""

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_PACKED = (b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"PK\x03\x04", b"PK\x05\x06")
_SAMPLE_BYTES = 4096


class ReadShare:
    """Tells the share of a file that has been read, 0..1, whatever decoders read it."""

    def __init__(self, raw: IO[bytes], n_bytes: int) -> None:
        self._raw = raw
        self._n_bytes = max(n_bytes, 1)

    def __call__(self) -> float:
        """Return the share read so far."""
        return min(self._raw.tell() / self._n_bytes, 1.0)


@contextmanager
def open_text(path: Path, newline: str | None = None, member: str | None = None) -> Iterator[tuple[IO[str], ReadShare]]:
    """Open a file as UTF-8 text, unpacked; a byte order mark is skipped.

    Args:
        path: the file.
        newline: as for `open`.
        member: the file to read in a zip archive of several.

    Raises:
        UsageError: a line is not UTF-8 or holds a NUL, the file is packed and damaged, or it is a zip archive of
            several files and `member` is none of them; the message lists them.
    """
    try:
        with path.open("rb") as raw, _unpacked(raw, path, member) as binary:
            checked = cast("IO[bytes]", io.BufferedReader(_WithoutNul(binary)))
            text = io.TextIOWrapper(checked, encoding="utf-8-sig", newline=newline)
            yield text, ReadShare(raw, path.stat().st_size)
    except (UnicodeDecodeError, _NulFoundError) as e:
        number, what = _first_bad_line(path, member)
        hint = "remove it" if "NUL" in what else "save the file as UTF-8"
        raise UsageError(f"{path}, line {number}: {what}", hint=hint) from e
    except (OSError, *_DAMAGED) as e:
        raise _damaged(path, e) from e


def lines_of(text: IO[str], path: Path) -> Iterator[str]:
    """Yield the lines of a text with their ends.

    Raises:
        UsageError: a line is longer than `MAX_LINE_CHARACTERS`; the message has its number.
    """
    number = 0
    while line := text.readline(MAX_LINE_CHARACTERS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARACTERS:
            message = f"{path}, line {number}: longer than {MAX_LINE_CHARACTERS:,} characters"
            raise UsageError(message, hint="check that this is a text file of rows")
        yield line


def first_bytes(path: Path, n_bytes: int, member: str | None = None) -> tuple[bytes, bool]:
    """Return the first bytes of a file, unpacked, and whether it is packed. Raises as `open_text` does."""
    try:
        with path.open("rb") as raw, _unpacked(raw, path, member) as binary:
            return binary.read(n_bytes), binary is not raw
    except (OSError, *_DAMAGED) as e:
        raise _damaged(path, e) from e


def _damaged(path: Path, error: Exception) -> UsageError:
    if isinstance(error, OSError) and error.errno is not None:  # the unpackers raise it without a number
        return UsageError(f"cannot read {path} ({error.strerror})", hint="check its name and its permissions")
    return UsageError(f"{path} is damaged and cannot be unpacked ({error})", hint="get the file again")


class _NulFoundError(ValueError):
    """The text holds a NUL."""


class _WithoutNul(io.RawIOBase):
    """The bytes of a file; raises where one of them is 0."""

    def __init__(self, binary: IO[bytes]) -> None:
        self._binary = binary

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._binary.read(len(buffer))
        if b"\0" in chunk:
            raise _NulFoundError
        buffer[: len(chunk)] = chunk
        return len(chunk)


@contextmanager
def _unpacked(raw: IO[bytes], path: Path, member: str | None) -> Iterator[IO[bytes]]:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(_PACKED[3:]):
        with zipfile.ZipFile(raw) as archive, _opened_member(archive, path, member) as binary:
            yield binary
        return
    if member is not None:
        message = f"{path} is neither a database nor an archive, so it has no table {member!r}"
        raise UsageError(message, hint="leave out `table`")
    if magic.startswith(_PACKED[0]):
        binary = cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    elif magic.startswith(_PACKED[1]):
        binary = lzma.LZMAFile(raw)  # noqa: SIM115 - closed below
    elif magic.startswith(_PACKED[2]):
        binary = bz2.BZ2File(raw)
    else:
        yield raw
        return
    with binary:
        yield binary


def _opened_member(archive: zipfile.ZipFile, path: Path, member: str | None) -> IO[bytes]:
    names = [info.filename for info in archive.infolist() if not info.is_dir() and not _is_hidden(info.filename)]
    if member is None and len(names) == 1:
        member = names[0]
    elif member not in names:
        what = "has more than one file" if member is None and names else f"has no file {member or ''}".rstrip()
        message = f"{path} {what}; it holds: {', '.join(names) or 'none'}"
        raise UsageError(message, hint="choose one with `table`, or unpack it")
    try:
        return archive.open(str(member))
    except (RuntimeError, NotImplementedError) as e:  # a password, or a packing that Python does not know
        message = f"{path}: {member} cannot be unpacked ({e})"
        raise UsageError(message, hint="unpack it with another program") from e


def _is_hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")


def _first_bad_line(path: Path, member: str | None) -> tuple[int, str]:
    """Return the first line that cannot be text, and why."""
    sample, _ = first_bytes(path, _SAMPLE_BYTES, member)
    # Every second byte of English text in UTF-16 is a NUL.
    if sample[:2] in {b"\xff\xfe", b"\xfe\xff"} or sample.count(b"\0") * 4 >= len(sample):
        return 1, "looks like UTF-16, not UTF-8"
    with path.open("rb") as raw, _unpacked(raw, path, member) as binary:
        for number, line in enumerate(iter(lambda: binary.readline(MAX_LINE_CHARACTERS), b""), 1):
            if b"\0" in line:
                return number, "a NUL character, which no text has"
            try:
                line.decode()
            except UnicodeDecodeError:
                return number, "not UTF-8 text"
    return 1, "not UTF-8 text"
