"""Reading the bytes of a GGUF header without trusting one of them.

Every length is checked against the bytes that are left before anything is allocated or looped over, so a file costs at
most some `MAX_HEADER_BYTES` of memory and about a second. Knows numbers and texts; not what they mean.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from pathlib import Path

DAMAGED_HINT = "the file is damaged or not a model for llama.cpp; fetch or convert it again"

MAX_HEADER_BYTES = 32 << 20
"""LLaMA-3 with its 128,256 tokens and 280,147 merges needs 7.8 MB, Gemma 4 with 262,144 tokens 15.8 MB."""
MAX_TEXT_BYTES = 8 << 20
"""All keys and kept strings together; chat templates, the longest, have some 10 kB."""

_CHUNK_BYTES = 1 << 20
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class ByteReader:
    """Walks once through the beginning of a file.

    Args:
        path: named in errors.
        file: open for reading, at its beginning.
        size: the size of the file in bytes.

    Attributes:
        data: the part of the file read so far.
        pos: the offset of the next byte to be parsed.
    """

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self.data = bytearray()
        self.pos = 0
        self._file = file
        self._text_bytes = 0

    @property
    def n_left(self) -> int:
        """How many bytes of the file follow."""
        return self.size - self.pos

    def fail(self, found: str, at: int) -> NoReturn:
        """Raise ModelInvalidError for what was found at byte `at`."""
        message = f"{self.path}: {found} (byte {at:,} of {self.size:,})"
        raise ModelInvalidError(message, hint=DAMAGED_HINT)

    def need(self, n_bytes: int, what: str) -> None:
        """Check that `n_bytes` are left in the file, and read them into `data`.

        Raises:
            ModelInvalidError: they are not, or end beyond `MAX_HEADER_BYTES`.
        """
        end = self.pos + n_bytes
        if end > self.size:
            self.fail(f"{what} needs {n_bytes:,} bytes and {self.n_left:,} are left: damaged or cut short", self.pos)
        if end > MAX_HEADER_BYTES:
            self.fail(f"{what} ends beyond the {MAX_HEADER_BYTES:,} bytes a header may have", self.pos)
        while len(self.data) < end:
            chunk = self._file.read(max(_CHUNK_BYTES, end - len(self.data)))
            if not chunk:
                self.fail(f"the file ended while {what} was read: another program shortens it", len(self.data))
            self.data += chunk

    def u32(self, what: str) -> int:
        """Read an unsigned number of 4 bytes."""
        self.need(4, what)
        value: int = _U32.unpack_from(self.data, self.pos)[0]
        self.pos += 4
        return value

    def u64(self, what: str) -> int:
        """Read an unsigned number of 8 bytes."""
        self.need(8, what)
        value: int = _U64.unpack_from(self.data, self.pos)[0]
        self.pos += 8
        return value

    def text(self, what: str, max_bytes: int, *, empty: bool = False) -> str:
        """Read a length and that many bytes of UTF-8.

        Args:
            what: named in errors.
            max_bytes: the most that are allowed.
            empty: whether it may be empty.
        """
        at = self.pos
        length = self.u64(f"the length of {what}")
        if length > max_bytes or (length == 0 and not empty):
            least = 0 if empty else 1
            self.fail(f"{what} has {length:,} bytes, expected {least} to {max_bytes:,}", at)
        self.need(length, what)
        self._text_bytes += length
        if self._text_bytes > MAX_TEXT_BYTES:
            self.fail(f"the metadata holds more than {MAX_TEXT_BYTES:,} bytes of text", at)
        try:
            text = self.data[self.pos : self.pos + length].decode()
        except UnicodeDecodeError as e:
            self.fail(f"{what} is not UTF-8", self.pos + e.start)
        self.pos += length
        return text

    def count(self, what: str, min_bytes: int, max_count: int) -> int:
        """Read how many things follow, each of at least `min_bytes`."""
        at = self.pos
        count = self.u64(f"the number of {what}")
        if count > max_count or count * min_bytes > self.n_left:
            self.fail(f"the file claims {count:,} {what}, more than it can hold", at)
        return count

    def skip_strings(self, key: str, count: int) -> None:
        """Step over `count` strings. The one hot loop: LLaMA-3 has 408,403 of them."""
        what = f"an element of {key!r}"
        data, read_length, pos, n_read = self.data, _U64.unpack_from, self.pos, len(self.data)
        for _ in range(count):
            if pos + 8 > n_read:
                self.pos = pos
                self.need(8, what)
                n_read = len(data)
            length = read_length(data, pos)[0]
            pos += 8
            if pos + length > n_read:
                self.pos = pos
                self.need(length, what)
                n_read = len(data)
            pos += length
        self.pos = pos
