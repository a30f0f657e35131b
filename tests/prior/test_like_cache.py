"""Liked sets and how well known items are: found in a catalog once, followed after changes, made again when damaged."""

from __future__ import annotations

import json
import lzma
import os
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog import edit, writer
from genrec_edge.catalog.reader import Catalog
from genrec_edge.decoding import trie_cache
from genrec_edge.errors import DatasetError
from genrec_edge.prior import like_cache, open_likes
from genrec_edge.prior.known import known_shares
from genrec_edge.prior.open_likes import OpenLikes, liked_sets, liked_sets_beside, shipped_likes
from tests.support.coordinates import token_list
from tests.support.faults import flipped_bit

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.prior.like_cache import ItemLikes

ROWS = """id,title,year,known
tt0110912,Pulp Fiction,1994,95
mine-1,"Matrix, The",1999,120
mine-2,Kill Bill: Volume 1,2004,-3
tt0133093,Heat Wave,1990,
mine-3,A film that nobody knows,2020,12.5
"""


@pytest.fixture
def path(tmp_path: Path, own_home: Path) -> Path:
    """Returns a catalog with three films that people liked: one by its id, one by title and year, one a year off."""
    (tmp_path / "c.csv").write_text(ROWS, encoding="utf-8")
    writer.build(tmp_path / "c.csv", tmp_path / "c.db")
    return tmp_path / "c.db"


def loaded(path: Path) -> ItemLikes:
    """Return what is kept of a catalog, which is what is found in it now."""
    with Catalog.open(path) as catalog:
        trie = trie_cache.load(catalog, lambda text: token_list(map(ord, text)), "one")
        found = like_cache.load(catalog, trie)
        expected, known = liked_sets(catalog, trie.rows), known_shares(catalog, trie.rows)
    assert found.liked is not None
    history = np.flatnonzero(expected.is_counted).tolist()
    assert found.liked.scores(history).tolist() == expected.scores(history).tolist()
    assert (None if found.known is None else found.known.tolist()) == (None if known is None else known.tolist())
    return found


def folder_of(path: Path) -> Path:
    with Catalog.open(path) as catalog:
        return trie_cache.index_path(catalog, "one").with_name("likes")


def test_films_are_found_by_id_or_by_title_and_year(path: Path) -> None:
    with Catalog.open(path) as catalog:
        rows = np.array([row for row, _, _ in catalog.titles()])
        liked = liked_sets(catalog, rows)
        assert known_shares(catalog, rows) == pytest.approx([0.95, 1.0, 0.0, 0.0, 0.125])
    likes = shipped_likes()
    place = {titled: i for i, titled in enumerate(likes.titles)}
    pulp, matrix, kill = place["Pulp Fiction", 1994], place["The Matrix", 1999], place["Kill Bill: Volume 1", 2003]
    assert likes.item_ids[pulp] == "tt0110912"
    rated = likes.sets["movietweetings"]
    assert liked.groups[0].n_likes.tolist() == [sum(one in s for s in rated) for one in (pulp, matrix, kill)] + [0, 0]
    talked = likes.sets["redial"]
    both = [sum(one in s for s in rated) + sum(one in s for s in talked) for one in (pulp, matrix, kill)]
    assert liked.groups[1].n_likes.tolist() == [*both, 0, 0]  # all three are older than 2012
    assert liked.is_counted.tolist() == [True, True, True, False, False]  # Heat Wave has the id of another film


def test_histories_take_the_place_of_what_people_rated(path: Path) -> None:
    histories = [np.array([0, 4], np.int32), np.array([4, 1, 3], np.int32)]
    is_older = np.array([True, False, True, True, False])
    with Catalog.open(path) as catalog:
        found = liked_sets_beside(catalog, np.array([row for row, _, _ in catalog.titles()]), histories, is_older)
    talked = shipped_likes().sets["redial"]
    assert found.groups[0].n_likes.tolist() == [1, 1, 0, 1, 2]
    assert found.groups[0].n_sets == 2
    assert found.groups[1].n_sets == 2 + len(talked)
    assert found.groups[1].n_likes[[3, 4]].tolist() == [1, 0]


def test_they_are_found_once_and_again_after_a_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    really = like_cache._find

    def find(catalog: Catalog, rows: NDArray[np.int64]) -> ItemLikes:
        found.append(len(rows))
        return really(catalog, rows)

    monkeypatch.setattr(like_cache, "_find", find)
    for _ in range(2):
        loaded(path)
    assert len(found) == 1
    edit.add_item(path, "Jackie Brown", year=1997)
    loaded(path)
    assert len(found) == 2
    monkeypatch.setattr(like_cache, "_likes_sha256", lambda: "of another version")
    loaded(path)
    assert len(found) == 3


def test_each_flipped_bit_is_noticed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded(path)
    files = sorted(folder_of(path).iterdir())
    assert len(files) == 7
    for seed in range(60):
        rng = random.Random(seed)
        with flipped_bit(rng.choice(files), rng):
            loaded(path)  # which compares with what is found anew
        loaded(path)
    assert "the index of liked sets" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_costs_time_alone(path: Path) -> None:
    folder_of(path).parent.mkdir(parents=True)
    folder_of(path).parent.chmod(0o500)
    loaded(path)
    folder_of(path).parent.chmod(0o700)


@pytest.mark.parametrize("columns", ["title\nQuite Another Film", "title,known\nQuite Another Film,very well"])
def test_a_catalog_without_any_of_it_has_nothing(columns: str, tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "d.csv").write_text(columns + "\n", encoding="utf-8")
    writer.build(tmp_path / "d.csv", tmp_path / "d.db")
    with Catalog.open(tmp_path / "d.db") as catalog:
        trie = trie_cache.load(catalog, lambda text: token_list(map(ord, text)), "one")
        for _ in range(2):
            found = like_cache.load(catalog, trie)
            assert (found.liked, found.known) == (None, None)


@pytest.mark.parametrize("content", [b"", b"garbage", lzma.compress(b"{}"), lzma.compress(json.dumps([1]).encode())])
def test_a_damaged_file_of_the_package_is_one_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "likes.json.xz").write_bytes(content)
    monkeypatch.setattr(open_likes, "_PATH", tmp_path / "likes.json.xz")
    with pytest.raises(DatasetError, match="which comes with the package, cannot be read") as error:
        shipped_likes.__wrapped__()
    assert error.value.hint == "install the package again"


def test_the_sets_of_the_package_are_whole() -> None:
    likes: OpenLikes = shipped_likes()
    assert {name: len(sets) for name, sets in likes.sets.items()} == {"movietweetings": 9_659, "redial": 2_208}
    assert all(len(set(one)) == len(one) >= 2 for sets in likes.sets.values() for one in sets)
    assert len(likes.item_ids) == len(set(likes.item_ids)) == len(likes.titles) == 8_253
