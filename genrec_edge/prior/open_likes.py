"""The sets of liked films that come with the package, of two open data sets, keyed by id, title and year.

`genrec_edge/data/README.md` says where they are from, `convert/films/likes.py` makes the file. They are counted for any
catalog that has these films, the user's own included.
"""

from __future__ import annotations

import functools
import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import DatasetError
from genrec_edge.prior.bind import matching_positions
from genrec_edge.prior.liked import LikedGroup, LikedSets

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog

SCHEMA = "genrec-edge/likes@1"
RATED, TALKED = "movietweetings", "redial"
"""The names of the sources."""
FIRST_RECENT_YEAR = 2012
"""Films from this year on were new when the people of MovieTweetings, in 2013, rated them."""
_PATH = Path(__file__).parents[1] / "data" / "likes.json.xz"


@dataclass(frozen=True, slots=True)
class OpenLikes:
    """Sets of liked items.

    Attributes:
        item_ids: of the items.
        titles: (title, year) of each.
        sets: of each source, sets of places among the items.
    """

    item_ids: tuple[str, ...]
    titles: tuple[tuple[str, int | None], ...]
    sets: dict[str, tuple[tuple[int, ...], ...]]


def shipped_likes_path() -> Path:
    """Return the file that comes with the package."""
    return _PATH


@functools.cache
def shipped_likes() -> OpenLikes:
    """Return the sets that come with the package.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    try:
        with lzma.open(_PATH, "rt", encoding="utf-8") as file:
            document = json.load(file)
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}, not {SCHEMA!r}")  # noqa: TRY301
        items = document["items"]
        sets = {name: tuple(map(tuple, document["sets"][name])) for name in (RATED, TALKED)}
        titles = tuple((title, year) for _, title, year in items)
        return OpenLikes(tuple(item_id for item_id, _, _ in items), titles, sets)
    except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError, TypeError) as e:
        raise unreadable(e) from e


def unreadable(e: Exception) -> DatasetError:
    """Return the error that says that the file that comes with the package is missing or damaged."""
    message = f"{_PATH}, which comes with the package, cannot be read ({type(e).__name__}: {e})"
    return DatasetError(message, hint="install the package again")


def liked_sets(catalog: Catalog, rows: NDArray[np.int64]) -> LikedSets:
    """Return the sets of the package over the `rows` of a catalog, (n_rows,), which give the order of positions.

    The first group is what people rated highly, recent films included; the second what they rated of older films, and
    what people liked when they talked of films of any year. So taste is not outvoted by the films of one season.
    """
    likes = shipped_likes()
    positions = matching_positions(catalog, rows, likes.item_ids, likes.titles)
    years = np.array([year or 0 for _, year in likes.titles], np.int64)
    rated = _located(likes.sets[RATED], positions)
    older = _located(likes.sets[RATED], np.where(years < FIRST_RECENT_YEAR, positions, -1))
    talked = _located(likes.sets[TALKED], positions)
    return LikedSets((LikedGroup.of(rated, len(rows)), LikedGroup.of([*older, *talked], len(rows))), len(rows))


def liked_sets_beside(
    catalog: Catalog, rows: NDArray[np.int64], histories: Sequence[NDArray[np.int32]], is_older: NDArray[np.bool_]
) -> LikedSets:
    """Return the same with `histories` of positions in the place of what people rated.

    For a data set that may be one of the sources itself, and whose held-out items must not be counted.

    Args:
        catalog: of the data set.
        rows: the row of each of its items.
        histories: of its users, training items alone; their sets come first in both groups.
        is_older: (n_rows,) the items that were not new when they were met.
    """
    likes = shipped_likes()
    talked = _located(likes.sets[TALKED], matching_positions(catalog, rows, likes.item_ids, likes.titles))
    older = [history[is_older[history]] for history in histories]
    return LikedSets((LikedGroup.of(histories, len(rows)), LikedGroup.of([*older, *talked], len(rows))), len(rows))


def _located(sets: Collection[tuple[int, ...]], positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return sets of places as sets of positions, without the items that have none."""
    located = (positions[list(places)] for places in sets)
    return [one[one >= 0] for one in located]
