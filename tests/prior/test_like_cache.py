"""The index of liked sets on this machine: found once, followed after changes, made again where it is damaged."""

from __future__ import annotations

import json
import lzma
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog import edit, writer
from genrec_edge.catalog.reader import Catalog
from genrec_edge.decoding import trie_cache
from genrec_edge.errors import DatasetError
from genrec_edge.prior import like_cache, open_likes
from genrec_edge.prior.known import known_shares
from genrec_edge.prior.open_likes import RATED, SCHEMA, TALKED
from genrec_edge.storage import array_folder, made_folder
from genrec_edge.storage.array_folder import DamagedArraysError
from tests.support.coordinates import token_list
from tests.support.faults import flipped_bit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from genrec_edge.coordinates import TokenId
    from genrec_edge.prior.like_cache import ItemLikes
    from genrec_edge.prior.liked import LikedSets

N_FILMS = 30
ARRAYS = ("rated_starts", "rated_sets", "older_starts", "older_sets", "n_sets", "known")


@pytest.fixture
def likes_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Returns the file of liked sets, which has some of the films below, in the place of the one of the package."""
    path = tmp_path / "likes.json.xz"
    monkeypatch.setattr(open_likes, "_PATH", path)
    write_likes(path, 1)
    yield path
    forget()


def write_likes(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    items = [(f"x{i}", f"Film {i}", 1990 + i) for i in range(N_FILMS + 5)]
    sets = {name: [rng.sample(range(len(items)), 4) for _ in range(12)] for name in (RATED, TALKED)}
    path.write_bytes(lzma.compress(json.dumps({"schema": SCHEMA, "items": items, "sets": sets}).encode()))
    forget()


def forget() -> None:
    """Be a process that has not read the file yet."""
    open_likes.shipped_likes.cache_clear()
    like_cache._likes_sha256.cache_clear()


def build(path: Path, *, title: str = "Film", known: bool = True) -> Path:
    rows = [
        {"id": f"f{i}", "title": f"{title} {i}", "year": 1990 + i, **({"known": 3 * i} if known and i % 4 else {})}
        for i in range(N_FILMS)
    ]
    source = path.with_suffix(".jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    writer.build(source, path)
    return path


@pytest.fixture
def path(tmp_path: Path, own_home: Path, likes_path: Path) -> Path:
    return build(tmp_path / "films.db")


@pytest.fixture
def n_found(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list that grows by the number of items whenever the sets are looked for in a catalog."""
    found: list[int] = []

    def find(*arguments: Any) -> LikedSets:
        liked = really_find(*arguments)
        found.append(liked.n_items)
        return liked

    really_find = open_likes.liked_sets
    monkeypatch.setattr(like_cache, "liked_sets", find)
    return found


def ids(text: str) -> list[TokenId]:
    return token_list(map(ord, text))


def loaded(path: Path, tokenizer: str = "one") -> ItemLikes:
    """Return what is known of the items of a catalog, which is what is found in it now."""
    with Catalog.open(path) as catalog:
        trie = trie_cache.load(catalog, ids, tokenizer)
        likes = like_cache.load(catalog, trie)
        anew, known = open_likes.liked_sets(catalog, trie.rows), known_shares(catalog, trie.rows)
    n_items = trie.n_items
    if likes.liked is None:
        assert not anew.is_counted.any()
    else:
        assert likes.liked.n_items == n_items
        for history in ([0], [3, 17, 8], list(range(n_items))):
            assert likes.liked.scores(history).tolist() == anew.scores(history).tolist()
    assert (likes.known is None) == (known is None)
    if likes.known is not None and known is not None:
        assert likes.known.tolist() == known.tolist()
    return likes


def folder_of(path: Path, tokenizer: str = "one") -> Path:
    with Catalog.open(path) as catalog:
        return trie_cache.index_path(catalog, tokenizer).with_name("likes")


def test_they_are_found_once_for_each_title_index_and_again_after_a_change(path: Path, n_found: list[int]) -> None:
    for _ in range(2):
        likes = loaded(path)
    assert n_found == [30]
    assert likes.liked is not None
    assert likes.known is not None
    loaded(path, "other")
    assert n_found == [30, 30]
    edit.add_item(path, f"Film {N_FILMS}", year=1990 + N_FILMS, columns={"known": "77"})
    for _ in range(2):
        likes = loaded(path)
    assert n_found == [30, 30, 31]
    assert likes.known is not None
    assert likes.known.max() == pytest.approx(0.87)
    assert likes.known.tolist().count(0.77) == 1
    edit.remove(path, ["f3"])
    loaded(path)
    assert n_found == [30, 30, 31, 30]
    assert sorted(p.name for p in folder_of(path).parent.iterdir()) == [".lock", "likes", "trie"]


def test_another_file_of_the_package_is_another_index(path: Path, likes_path: Path, n_found: list[int]) -> None:
    first = loaded(path)
    write_likes(likes_path, 2)
    second = loaded(path)
    assert n_found == [30, 30]
    assert first.liked is not None
    assert second.liked is not None
    assert first.liked.scores([3, 17]).tolist() != second.liked.scores([3, 17]).tolist()
    loaded(path)
    assert n_found == [30, 30]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("title", ["Film", "Other"])
def test_what_is_not_there_is_kept_as_well(
    title: str, known: bool, path: Path, tmp_path: Path, n_found: list[int]
) -> None:
    other = build(tmp_path / "other.db", title=title, known=known)
    for _ in range(2):
        likes = loaded(other)
        assert (likes.liked is None, likes.known is None) == (title == "Other", not known)
    assert n_found == [30]


@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAYS), "key.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage", "folder"])
def test_damaged_likes_are_found_again_with_a_word(
    path: Path, name: str, damage: str, n_found: list[int], caplog: pytest.LogCaptureFixture
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
    assert n_found == [30, 30]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"the index of liked sets in {folder_of(path)} is damaged (")
    caplog.clear()
    loaded(path)
    assert (n_found, caplog.records) == ([30, 30], [])


def test_each_flipped_bit_is_noticed(path: Path, trials: Callable[[int, int], int]) -> None:
    loaded(path)
    known = like_cache._read(folder_of(path))
    assert known is not None
    files = sorted(folder_of(path).iterdir())
    for seed in range(trials(100, 2_000)):
        rng = random.Random(seed)
        with flipped_bit(rng.choice(files), rng):
            try:
                found = like_cache._read(folder_of(path))
            except DamagedArraysError:
                continue
        assert found is not None  # the likes of something else, which are not used
        assert (found.made_for, found.likes_sha256) != (known.made_for, known.likes_sha256)


FORGED: dict[str, dict[str, list[float]]] = {
    "an item leads out of the sets": {"rated_starts": [0, 1, 9], "rated_sets": [0, 0]},
    "items that overlap": {"rated_starts": [0, 2, 1], "rated_sets": [0]},
    "a set that is not there": {"older_sets": [0, 7]},
    "a set before the first": {"older_sets": [0, -1]},
    "groups of two catalogs": {"older_starts": [0, 1, 2, 2], "known": [0, 0, 0]},
    "known of another catalog": {"known": [0.5, 0.5, 0.5]},
    "known beyond 1": {"known": [0.5, 1.5]},
    "known below 0": {"known": [-0.5, 0.5]},
    "known by no number": {"known": [0.5, float("nan")]},
    "one group": {"n_sets": [2]},
    "three groups": {"n_sets": [2, 2, 2]},
    "no items": {"rated_starts": [], "rated_sets": [], "older_starts": [], "older_sets": []},
}
WHOLE: dict[str, list[float]] = {
    "rated_starts": [0, 1, 2],
    "rated_sets": [0, 1],
    "older_starts": [0, 1, 2],
    "older_sets": [0, 1],
    "n_sets": [2, 2],
    "known": [0.5, 1],
}


@pytest.mark.parametrize("case", FORGED)
def test_arrays_that_lead_out_of_each_other_are_refused(case: str, tmp_path: Path) -> None:
    def write(name: str, changed: dict[str, list[float]]) -> Path:
        arrays = {array: np.array(values) for array, values in (WHOLE | changed).items()}
        key = {"revision": "r", "tokenizer": "t", "index": "i", "likes": "0"}
        array_folder.write(tmp_path / name, like_cache._FORMAT, key, arrays)
        return tmp_path / name

    assert like_cache._read(write("whole", {})) is not None
    forged = write("forged", FORGED[case])
    with pytest.raises(DamagedArraysError):
        like_cache._read(forged)


def test_a_cache_that_cannot_be_written_serves_this_process(
    path: Path, n_found: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch, Catalog.open(path) as catalog:
        trie = trie_cache.load(catalog, ids, "one")
        patch.setattr(made_folder, "locked_root", refuse)
        likes = like_cache.load(catalog, trie)
        assert likes.liked is not None
        assert likes.liked.scores([3]).tolist() == open_likes.liked_sets(catalog, trie.rows).scores([3]).tolist()
    assert not folder_of(path).exists()
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"the index of liked sets is not kept in {folder_of(path).parent}, and is built again")
    loaded(path)
    n_found.clear()
    with monkeypatch.context() as patch:  # what is there is read, without the lock and a word
        patch.setattr(made_folder, "locked_root", refuse)
        caplog.clear()
        loaded(path)
    assert (n_found, caplog.records) == ([], [])


def test_likes_of_a_catalog_that_was_changed_since_are_not_kept(path: Path, n_found: list[int]) -> None:
    with Catalog.open(path) as catalog:
        trie = trie_cache.load(catalog, ids, "one")
        edit.add_item(path, "Red Moon", year=1980)
        likes = like_cache.load(catalog, trie)
        assert likes.liked is not None
        assert likes.liked.n_items == 30
    assert not folder_of(path).exists()
    loaded(path)
    assert n_found == [30, 31]


@pytest.mark.parametrize("case", ["damaged", "gone"])
def test_a_file_of_the_package_that_cannot_be_read_is_one_line(case: str, path: Path, likes_path: Path) -> None:
    loaded(path)
    if case == "damaged":
        likes_path.write_bytes(likes_path.read_bytes()[:-9])
    else:
        likes_path.unlink()
    forget()
    with Catalog.open(path) as catalog:
        trie = trie_cache.load(catalog, ids, "one")
        with pytest.raises(DatasetError, match="which comes with the package, cannot be read"):
            like_cache.load(catalog, trie)
