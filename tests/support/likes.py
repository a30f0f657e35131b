"""A small file of liked sets in the place of the one that comes with the package."""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING

from genrec_edge.prior import like_cache, open_likes
from genrec_edge.prior.open_likes import RATED, SCHEMA, TALKED

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.facts import Film

FIRST_RECENT_YEAR = 2012


def random_likes(films: Sequence[Film], rng: random.Random) -> dict[str, list[list[int]]]:
    """Return sets of some of these films for each source."""
    return {name: [rng.sample(range(len(films)), 4) for _ in range(15)] for name in (RATED, TALKED)}


def write_likes(path: Path, films: Sequence[Film], sets: dict[str, list[list[int]]]) -> None:
    """Write a file in which the films have ids that no catalog has."""
    items = [(f"other{i}", film.title, film.year) for i, film in enumerate(films)]
    document = {"schema": SCHEMA, "items": items, "sets": sets}
    path.write_bytes(lzma.compress(json.dumps(document).encode()))
    forget()


def forget() -> None:
    """Be a process that has not read the file yet."""
    open_likes.shipped_likes.cache_clear()
    like_cache._likes_sha256.cache_clear()


def groups_of(films: Sequence[Film], sets: dict[str, list[list[int]]]) -> list[list[list[int]]]:
    """Return the groups of sets: what was rated, and what was rated of older films with what was talked of."""
    older = [[i for i in one if (films[i].year or 0) < FIRST_RECENT_YEAR] for one in sets[RATED]]
    return [sets[RATED], older + sets[TALKED]]
