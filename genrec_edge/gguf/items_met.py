"""Which items a model met in the histories that it was trained on, as a text in its metadata.

An item is the hash of its title and year. So it is found in any catalog, and no list of titles is needed: of a million
titles that a model never met, two or three are taken for one of ten thousand that it did.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

_KIND = np.dtype("<u4")
MOST_ITEMS = 100_000
"""A record of more items than that is not written: it would take more than half a megabyte."""


def hash_of(title_key: str, year: int | None) -> int:
    """Return the hash of an item, 0..2^32 - 1, by the key of its title (`titles.key`) and its year."""
    return zlib.crc32(f"{title_key} {year or ''}".encode("utf-8", "surrogatepass"))


def to_text(hashes: Iterable[int]) -> str:
    """Return hashes as one text."""
    return base64.b64encode(np.array(sorted(set(hashes)), _KIND).tobytes()).decode("ascii")


def from_text(text: object) -> frozenset[int] | None:
    """Return the hashes in a text, None if it is none of `to_text`."""
    if not isinstance(text, str) or not text:
        return None
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return None if len(content) % _KIND.itemsize else frozenset(np.frombuffer(content, _KIND).tolist())
