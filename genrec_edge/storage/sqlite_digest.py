"""A digest of a SQLite file behind its last page: a flipped bit anywhere in the file is noticed.

SQLite reads as many pages as the header counts, and takes no notice of what follows them. The digest stands there, in a
page of its own, with the change counter of the header, which every program's commit raises. So a digest of another
counter is out of date, and says nothing; SQLite overwrites it when the file grows. It travels with a copied file.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from genrec_edge.storage.kept_descriptors import descriptor, read_at, write_at

if TYPE_CHECKING:
    from pathlib import Path

DigestState = Literal["right", "wrong", "none"]
"""Whether a file has the bytes that its digest was made of; "none" also where the digest is out of date."""

HEADER_BYTES = 100
_MARK = b"genrec-edge-digest 1\n"
_NUMBER_BYTES = 10
_CHUNK_BYTES = 1 << 20
_ROLLBACK_JOURNAL = b"\1\1"
"""What the header says of a file without a write-ahead log, whose commits do not always raise the counter."""


class Header(NamedTuple):
    """What the header of a SQLite file says of its size and its changes."""

    page_bytes: int
    n_pages: int
    change_counter: int
    is_plain: bool
    """Whether the number of pages is up to date, and every commit raises the counter."""

    @property
    def n_bytes(self) -> int:
        """The size of all pages."""
        return self.page_bytes * self.n_pages


def parse_header(data: bytes) -> Header:
    """Return what the first `HEADER_BYTES` bytes of a SQLite file say."""
    page_bytes = int.from_bytes(data[16:18], "big")
    is_plain = data[18:20] == _ROLLBACK_JOURNAL and data[24:28] == data[92:96]
    n_pages, counter = int.from_bytes(data[28:32], "big"), int.from_bytes(data[24:28], "big")
    return Header(65_536 if page_bytes == 1 else page_bytes, n_pages, counter, is_plain)


def digest_state(path: Path) -> DigestState:
    """Compare a file with its digest; no other process may be writing to it. Read-only.

    Raises:
        OSError: it cannot be read.
    """
    with descriptor(path) as number:
        header = parse_header(read_at(number, HEADER_BYTES, 0))
        kept = read_at(number, len(_digest_page(header, "0" * 64)), header.n_bytes)
        mark = f"{header.change_counter:0{_NUMBER_BYTES}d} ".encode()
        if not header.is_plain or not kept.startswith(_MARK + mark):
            return "none"
        return "right" if kept == _digest_page(header, _sha256(number, header.n_bytes)) else "wrong"


def write_digest(path: Path) -> None:
    """Put the digest of a file behind its last page; no other process may be writing to it.

    Raises:
        OSError: it cannot be read or written, or the disk is full; then it has no digest.
    """
    with descriptor(path, writes=True) as number:
        header = parse_header(read_at(number, HEADER_BYTES, 0))
        if not header.is_plain or not header.page_bytes:
            return
        write_at(number, _digest_page(header, _sha256(number, header.n_bytes)), header.n_bytes)
        os.fsync(number)


def _sha256(number: int, n_bytes: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while offset < n_bytes and (chunk := read_at(number, min(_CHUNK_BYTES, n_bytes - offset), offset)):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _digest_page(header: Header, digest: str) -> bytes:
    text = _MARK + f"{header.change_counter:0{_NUMBER_BYTES}d} {digest}\n".encode()
    return text.ljust(header.page_bytes, b"\0")
