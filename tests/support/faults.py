"""What a disk does to programs: it is full, it cannot be written, and its bits flip."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Have the system refuse larger files, as it does on a full disk; only for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def flipped_bit(path: Path, rng: random.Random, *, used: bool = False) -> Iterator[int]:
    """Flip a bit of a file, yield its place, and put the file back as it was; `used`: in a byte that is not 0."""
    whole = path.read_bytes()
    places = [place for place, byte in enumerate(whole) if byte] if used else range(len(whole))
    bit = 8 * rng.choice(places) + rng.randrange(8)
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
        yield bit
    finally:
        path.write_bytes(whole)
