"""The liked sets of the package in the user's own catalogs, against loops over the file."""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.errors import DatasetError
from genrec_edge.prior import open_likes
from genrec_edge.prior.open_likes import (
    FIRST_RECENT_YEAR,
    RATED,
    SCHEMA,
    TALKED,
    liked_sets,
    liked_sets_beside,
    shipped_likes,
    shipped_likes_path,
)
from tests.support.mixtures import liked_by_loops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    MakeCatalog = Callable[[Sequence[tuple[str, str, int | None]]], Path]

ITEMS: list[tuple[str, str, int | None]] = [
    ("tt1", "Alien", 1979),
    ("tt2", "Heat", 1995),
    ("tt3", "Heat", 1986),
    ("tt4", "Gravity", 2013),
    ("tt5", "Her", 2013),
    ("tt6", "Big Fish", 2003),
]
SETS: dict[str, list[list[int]]] = {
    RATED: [[0, 1, 3], [3, 4], [0, 4, 5], [1, 2]],
    TALKED: [[0, 3], [1, 5], [2, 4, 5]],
}


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object], Path]]:
    """Returns a function that puts another document in the place of the file that comes with the package."""

    def pack(document: object) -> Path:
        path = tmp_path / "likes.json.xz"
        path.write_bytes(lzma.compress(json.dumps(document).encode()))
        monkeypatch.setattr(open_likes, "_PATH", path)
        shipped_likes.cache_clear()
        return path

    yield pack
    shipped_likes.cache_clear()


@pytest.fixture
def small(packed: Callable[[object], Path]) -> Path:
    return packed({"schema": SCHEMA, "items": ITEMS, "sets": SETS})


def expected(history: list[int], places: Sequence[int | None], n_rows: int) -> list[float]:
    """Return the nats of each row by loops; `places` are the positions of the items of the file among the rows."""

    def at(sets: list[list[int]], before: int = 9999) -> list[list[int]]:
        found = []
        for one in sets:
            known = [places[item] for item in one if (ITEMS[item][2] or 0) < before]
            found.append([position for position in known if position is not None])
        return found

    rated, older, talked = at(SETS[RATED]), at(SETS[RATED], FIRST_RECENT_YEAR), at(SETS[TALKED])
    return liked_by_loops([rated, older + talked], history, n_rows)


@pytest.mark.usefixtures("small")
def test_own_catalogs_have_the_films_under_other_ids(make_catalog: MakeCatalog) -> None:
    """And titles of their own between them, a year that differs by one, and of namesakes the right one."""
    own = [("x", "My Film", 2020), ("a", "heat", 1986), ("b", "ALIEN", 1980), ("c", "Gravity", 2013)]
    own.append(("d", "Her", 1999))
    with Catalog.open(make_catalog(own)) as catalog:
        liked = liked_sets(catalog, np.array([5, 4, 3, 2, 1]))  # positions are in another order than rows
    places = [2, None, 3, 1, None, None]  # Alien is at position 2, Heat of 1986 at 3, Gravity at 1
    for history in ([2], [1, 3], [3, 2, 1]):
        assert liked.scores(history).tolist() == pytest.approx(expected(history, places, 5), abs=1e-12)
    assert liked.is_counted.tolist() == [False, True, True, True, False]
    assert liked.scores([2])[1] > 0


@pytest.mark.usefixtures("small")
def test_the_films_themselves_have_all_of_it(make_catalog: MakeCatalog) -> None:
    with Catalog.open(make_catalog(ITEMS)) as catalog:
        liked = liked_sets(catalog, np.arange(1, 7))
    for history in ([0], [3, 4], [5, 1, 0]):
        assert liked.scores(history).tolist() == pytest.approx(expected(history, range(6), 6), abs=1e-12)


@pytest.mark.usefixtures("small")
def test_without_any_of_the_films_nothing_is_liked(make_catalog: MakeCatalog) -> None:
    with Catalog.open(make_catalog([("tt1", "Alien Nation", 1988), ("tt2", "Heat", 2002)])) as catalog:
        liked = liked_sets(catalog, np.array([1, 2]))
    assert not liked.is_counted.any()
    assert liked.scores([0]).tolist() == [0, 0]


@pytest.mark.usefixtures("small")
def test_a_data_set_has_its_own_sets_in_the_place_of_the_ratings(make_catalog: MakeCatalog) -> None:
    histories = [[0, 3, 1], [3, 4], [], [5, 0]]
    is_older = [year is not None and year < 2003 for _, _, year in ITEMS]
    with Catalog.open(make_catalog(ITEMS)) as catalog:
        arrays = [np.array(history, np.int32) for history in histories]
        liked = liked_sets_beside(catalog, np.arange(1, 7), arrays, np.array(is_older))
    older = [[item for item in history if is_older[item]] for history in histories]
    for history in ([0], [3], [2, 5]):
        truth = liked_by_loops([histories, older + SETS[TALKED]], history, 6)
        assert liked.scores(history).tolist() == pytest.approx(truth, abs=1e-12)
        without = [histories[:1] + histories[2:], older[:1] + older[2:] + SETS[TALKED]]
        assert liked.scores(history, 1).tolist() == pytest.approx(liked_by_loops(without, history, 6), abs=1e-12)


def test_the_shipped_file_is_whole() -> None:
    likes = shipped_likes()
    assert len(set(likes.item_ids)) == len(likes.item_ids) == len(likes.titles)
    used: set[int] = set()
    for sets in likes.sets.values():
        assert all(len(set(one)) == len(one) >= 2 for one in sets)
        used.update(*sets)
    assert used == set(range(len(likes.item_ids)))
    assert likes.sets.keys() == {RATED, TALKED}


def damaged(case: str) -> bytes:
    whole = shipped_likes_path().read_bytes()
    document: Any = {"schema": SCHEMA, "items": ITEMS, "sets": SETS}
    if case == "cut":
        return whole[:-10]
    if case == "a byte":
        return whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    if case == "no archive":
        return b"likes"
    if case == "no JSON":
        return lzma.compress(b"{")
    if case == "a list":
        return lzma.compress(b"[]")
    if case == "no sets":
        document["sets"] = {RATED: []}
    elif case == "an item without a year":
        document["items"] = [("tt1", "Alien")]
    elif case == "another schema":
        document["schema"] = "genrec-edge/likes@2"
    return lzma.compress(json.dumps(document).encode())


@pytest.mark.parametrize(
    "case",
    ["cut", "a byte", "no archive", "no JSON", "a list", "no sets", "an item without a year", "another schema", "gone"],
)
def test_a_damaged_file_is_one_line(case: str, packed: Callable[[object], Path]) -> None:
    path = packed({"schema": SCHEMA, "items": ITEMS, "sets": SETS})
    assert shipped_likes().sets[RATED][1] == (3, 4)
    shipped_likes.cache_clear()
    if case == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged(case))
    with pytest.raises(DatasetError) as caught:
        shipped_likes()
    assert str(caught.value).startswith(f"{path}, which comes with the package, cannot be read (")
    assert "\n" not in str(caught.value)
    assert caught.value.hint == "install the package again"
