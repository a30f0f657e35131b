"""The facts of a catalog on this machine: read once, followed after changes, made again where they are damaged."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog import edit
from genrec_edge.catalog.reader import Catalog
from genrec_edge.decoding import trie_cache
from genrec_edge.prior import fact_cache, fact_files, fact_table
from genrec_edge.prior.fact_build import ValuePairs, build
from genrec_edge.prior.fact_files import ARRAYS, KeptFacts
from genrec_edge.prior.facts import FactColumn, FactIndex
from genrec_edge.storage import array_folder
from genrec_edge.storage.array_folder import DamagedArraysError
from tests.support.coordinates import token_list
from tests.support.facts import build_films, random_films
from tests.support.faults import flipped_bit, largest_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.coordinates import TokenId

HISTORY = [3, 40, 7]


@pytest.fixture
def path(tmp_path: Path, own_home: Path) -> Path:
    """Returns a catalog of films, of which some columns have groups."""
    return build_films(random_films(random.Random(3), 200), tmp_path / "films.db")


@pytest.fixture
def n_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list that grows by the number of items whenever the facts of a catalog are read."""
    found: list[int] = []

    def read(*arguments: object) -> FactIndex:
        index = really_read(*arguments)
        found.append(index.n_items)
        return index

    really_read: Callable[..., FactIndex] = fact_table.read
    monkeypatch.setattr(fact_table, "read", read)
    return found


def ids(text: str) -> list[TokenId]:
    return token_list(map(ord, text))


def loaded(path: Path, tokenizer: str = "one") -> FactIndex:
    """Return the facts of a catalog, which are those that are read from it now."""
    with Catalog.open(path) as catalog:
        trie = trie_cache.load(catalog, ids, tokenizer)
        index = fact_cache.load(catalog, trie)
        expected = build_anew(catalog, trie.rows)
    assert index.scores(HISTORY).tolist() == expected.scores(HISTORY).tolist()
    assert index.weights == expected.weights
    assert any(column.group_of is not None for column in index.columns)
    return index


build_anew = fact_table.read


def folder_of(path: Path, tokenizer: str = "one") -> Path:
    with Catalog.open(path) as catalog:
        return trie_cache.index_path(catalog, tokenizer).with_name("facts")


def test_they_are_read_once_for_each_title_index_and_again_after_a_change(path: Path, n_read: list[int]) -> None:
    for _ in range(2):
        loaded(path)
    assert n_read == [200]
    loaded(path, "other")
    assert n_read == [200, 200]
    edit.add_item(path, "Red Moon", year=1980)
    for _ in range(2):
        loaded(path)
    assert n_read == [200, 200, 201]
    assert sorted(p.name for p in folder_of(path).parent.iterdir()) == [".lock", "facts", "trie"]


def test_a_large_index_is_mapped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_folder, "_SMALL_BYTES", 0)
    assert isinstance(loaded(path).members.base, np.memmap)
    assert isinstance(loaded(path).members.base, np.memmap)


@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAYS), "key.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage", "folder"])
def test_damaged_facts_are_read_again_with_a_word(
    path: Path, name: str, damage: str, n_read: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    loaded(path)
    file = folder_of(path) / name
    whole = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(whole[:-1])
    elif damage == "garbage":
        file.write_bytes(random.Random(name).randbytes(len(whole)))
    elif damage == "folder":
        file.mkdir()
    loaded(path)
    assert n_read == [200, 200]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"the index of facts in {folder_of(path)} is damaged (")
    assert message.endswith("); it is built again")
    caplog.clear()
    loaded(path)
    assert (n_read, caplog.records) == ([200, 200], [])


def test_each_flipped_bit_is_noticed(path: Path, trials: Callable[[int, int], int]) -> None:
    loaded(path)
    known = fact_files.read(folder_of(path))
    assert known is not None
    files = sorted(folder_of(path).iterdir())
    for seed in range(trials(100, 2_000)):
        rng = random.Random(seed)
        with flipped_bit(rng.choice(files), rng):
            try:
                found = fact_files.read(folder_of(path))
            except DamagedArraysError:
                continue
        assert found is not None
        assert found.made_for != known.made_for  # the facts of something else, which are not used


def test_facts_without_hashes_are_not_trusted(path: Path) -> None:
    loaded(path)
    key = json.loads((folder_of(path) / "key.json").read_text())
    del key["sha256"]
    (folder_of(path) / "key.json").write_text(json.dumps(key))
    with pytest.raises(DamagedArraysError, match="has not the hash of each array"):
        fact_files.read(folder_of(path))


def test_arrays_that_lead_out_of_each_other_are_refused(path: Path) -> None:
    index = loaded(path)
    with Catalog.open(path) as catalog:
        key = trie_cache.load(catalog, ids, "one").key
    arrays = {"n_items_with", "starts", "members", "item_starts", "item_values"}
    for name in sorted(arrays - {"n_items_with"}):
        wrong = {other: getattr(index, other) for other in arrays}
        wrong[name] = np.concatenate([wrong[name][:-1], [len(wrong[name]) * 10]]).astype(wrong[name].dtype)
        forged = KeptFacts(key, FactIndex(index.columns, **wrong))
        assert fact_files.check(forged)
        fact_files.write(forged, path.with_name(name))
        with pytest.raises(DamagedArraysError):
            fact_files.read(path.with_name(name))
    short = [FactColumn(c.name, c.values, c.n_pairs, c.n_values[:-1], c.group_of) for c in index.columns]
    forged = KeptFacts(key, FactIndex(short, **{name: getattr(index, name) for name in arrays}))
    fact_files.write(forged, path.with_name("short"))
    with pytest.raises(DamagedArraysError):
        fact_files.read(path.with_name("short"))


def test_facts_of_no_columns_are_kept_as_well(path: Path) -> None:
    with Catalog.open(path) as catalog:
        key = trie_cache.load(catalog, ids, "one").key
    alone = ValuePairs("genres", np.arange(5), np.arange(5))
    fact_files.write(KeptFacts(key, build(5, [alone])), path.with_name("none"))
    found = fact_files.read(path.with_name("none"))
    assert found is not None
    assert (found.made_for, found.index.scores([2]).tolist()) == (key, [0.0] * 5)


def test_facts_that_find_no_room_serve_this_process(
    path: Path, n_read: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with Catalog.open(path) as catalog:
        trie = trie_cache.load(catalog, ids, "one")
        with largest_file(150):
            fact_cache.load(catalog, trie)
        assert f"the index of facts is not kept in {folder_of(path).parent}, and is built again" in caplog.text
        fact_cache.load(catalog, trie)
        fact_cache.load(catalog, trie)
    assert n_read == [200, 200]


def test_facts_of_a_catalog_that_was_changed_since_are_not_kept(path: Path, n_read: list[int]) -> None:
    """They are in the order of a title index, and would be of another moment."""
    with Catalog.open(path) as catalog:
        trie = trie_cache.load(catalog, ids, "one")
        edit.add_item(path, "Red Moon", year=1980)
        assert fact_cache.load(catalog, trie).n_items == 200
    assert not os.path.lexists(folder_of(path))
    assert loaded(path).n_items == 201
    assert n_read == [200, 201]
