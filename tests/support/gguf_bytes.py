"""GGUF files byte by byte, so that any of them can be wrong."""

from __future__ import annotations

import struct

U32, STRING, ARRAY = 4, 8, 9


def text(value: bytes) -> bytes:
    """Return a string as GGUF has it: its length, then its bytes."""
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    """Return a key of the metadata with the type and bytes of its value."""
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, elements: bytes = b"") -> bytes:
    """Return the value of an array that claims `count` elements."""
    return struct.pack("<IQ", kind, count) + elements


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    """Return a row of the tensor table."""
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dims + struct.pack("<IQ", kind, offset)


def gguf_bytes(
    pairs: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (),
    data: int = 0,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """Return a file of these keys and tensors with `data` bytes of zeros; `counts` is what it claims to have."""
    n_tensors, n_pairs = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_pairs) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data) if tensors else head


ONE = pair(b"a", U32, struct.pack("<I", 1))
