"""The index of a catalog on this machine: found again, made again when the catalog changed, without leftovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge import catalog as catalogs
from genrec_edge import index_cache
from genrec_edge.catalog import Catalog

if TYPE_CHECKING:
    from pathlib import Path


def ids(text: str) -> list[int]:
    return [ord(c) for c in text]


@pytest.fixture
def path(tmp_path: Path, own_home: Path) -> Path:
    (tmp_path / "films.csv").write_text("id,title\n1,Alien\n2,Brazil\n")
    catalogs.build(tmp_path / "films.csv", tmp_path / "films.db")
    return tmp_path / "films.db"


def test_it_is_built_once_for_each_tokenizer_and_again_after_a_change(path: Path) -> None:
    told: list[tuple[int, int]] = []

    def load(fingerprint: str) -> int:
        with Catalog.open(path) as catalog:
            return index_cache.load(catalog, ids, fingerprint, lambda *done: told.append(done)).n_items

    assert load("one") == 2
    assert told == [(2, 2)]
    assert load("one") == 2
    assert len(told) == 1  # nothing was tokenised again
    assert load("other") == 2
    assert len(told) == 2
    catalogs.add_item(path, "Heat")
    assert load("one") == 3
    assert told[-1] == (3, 3)


def test_what_killed_builders_left_behind_is_removed(path: Path) -> None:
    with Catalog.open(path) as catalog:
        folder = index_cache.index_path(catalog, "one")
        leftover = folder.parent / ".work-killed"
        leftover.mkdir(parents=True)
        (leftover / "tokens.npy").write_bytes(b"half")
        index_cache.load(catalog, ids, "one")
    assert sorted(p.name for p in folder.parent.iterdir()) == [".lock", folder.name]
