"""An index on the disk: what is read is what was written, or it is said to be damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.coordinates import CatalogRow
from genrec_edge.decoding import trie_files
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.decoding.trie_checks import check_trie
from genrec_edge.decoding.trie_files import ARRAYS
from genrec_edge.errors import DiskFullError
from genrec_edge.storage import array_folder, checked_files
from genrec_edge.storage.array_folder import DamagedArraysError
from tests.support.coordinates import token_list
from tests.support.faults import flipped_bit, largest_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = TrieKey("revision", "tokenizer")
WORDS = ("Alien", "Aliens", "Brazil", "Alien", "Heat", "Heat Wave", "He")


def index_of(titles: tuple[str, ...]) -> TitleTrie:
    items = [(CatalogRow(10 * i), title, None) for i, title in enumerate(titles)]
    return build(items, lambda text: token_list(map(ord, text)), KEY)


def content(index: TitleTrie) -> dict[str, list[int]]:
    return {name: getattr(index, name).tolist() for name in ARRAYS}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Returns a small index on the disk."""
    trie_files.write(index_of(WORDS), tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("is_small", [True, False])
def test_read_again_it_is_the_same_and_memory_mapped_unless_small(
    path: Path, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_small:
        monkeypatch.setattr(array_folder, "_SMALL_BYTES", 0)
    index = index_of(WORDS)
    trie_files.write(index, path)  # over the old one
    found = trie_files.read(path)
    assert found is not None
    assert found.key == KEY
    assert isinstance(found.tokens.base, np.memmap) != is_small
    assert content(found) == content(index)
    assert [p.name for p in path.parent.iterdir()] == ["index"]
    assert trie_files.read(path.with_name("other")) is None


def test_a_small_index_does_not_mind_what_is_done_to_its_files_later(path: Path) -> None:
    found = trie_files.read(path)
    assert found is not None
    for file in path.iterdir():
        os.truncate(file, 0)  # of a mapped file the next reader would be killed
    assert content(found) == content(index_of(WORDS))


@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAYS), "key.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "folder", "pipe", "other", "garbage"])
def test_a_damaged_index_is_said_to_be(path: Path, name: str, damage: str) -> None:
    file = path / name
    whole = file.read_bytes()
    file.unlink()
    if damage == "empty":
        file.touch()
    elif damage == "cut":
        file.write_bytes(whole[:-1])
    elif damage == "longer":
        file.write_bytes(whole + bytes(8))
    elif damage == "folder":
        file.mkdir()
    elif damage == "pipe":
        os.mkfifo(file)  # opening it would wait for a writer
    elif damage == "other":
        shutil.copyfile(path / ("rows.npy" if name != "rows.npy" else "by_row.npy"), file)
    elif damage == "garbage":
        file.write_bytes(random.Random(name).randbytes(len(whole)))
    with pytest.raises(DamagedArraysError):
        trie_files.read(path)


def test_each_flipped_bit_is_noticed_or_harmless(path: Path, trials: Callable[[int, int], int]) -> None:
    expected = content(index_of(WORDS))
    files = sorted(path.iterdir())
    noticed = 0
    for seed in range(trials(200, 5_000)):
        rng = random.Random(seed)
        file = rng.choice(files)
        with flipped_bit(file, rng):
            try:
                found = trie_files.read(path)
            except DamagedArraysError:
                noticed += 1
                continue
        assert found is not None
        assert file.name == "key.json"
        assert content(found) == expected
        noticed += found.key != KEY  # an index of something else, which is not used
    assert noticed > 0


@pytest.mark.parametrize("document", ["{}", "[]", "7", "[" * 5_000, '{"revision": 1, "tokenizer": 2}'])
def test_a_key_that_is_none(path: Path, document: str) -> None:
    (path / "key.json").write_text(document)
    with pytest.raises(DamagedArraysError, match=r"key\.json"):
        trie_files.read(path)


def without_hashes(path: Path) -> None:
    """Make an index one of version 0.1."""
    key = json.loads((path / "key.json").read_text())
    del key["sha256"]
    (path / "key.json").write_text(json.dumps(key))


def test_an_index_of_version_0_1_is_read(path: Path) -> None:
    without_hashes(path)
    found = trie_files.read(path)
    assert found is not None
    assert content(found) == content(index_of(WORDS))


def walked(index: TitleTrie) -> int:
    """Walk the whole trie as a search does, and return how many nodes that were."""
    left, n = [(0, index.n_items)], 0
    while left:
        node, end = left.pop()
        n += 1
        assert n <= index.n_nodes
        list(index.own_items(node, end))
        below = index.children(node, end)
        left += zip(below.nodes.tolist(), below.ends.tolist(), strict=True)
    return n


def test_whatever_passes_the_checks_can_be_walked(path: Path, trials: Callable[[int, int], int]) -> None:
    without_hashes(path)
    passed = 0
    for seed in range(trials(200, 5_000)):
        rng = random.Random(seed)
        name = rng.choice(list(ARRAYS))
        file = path / f"{name}.npy"
        whole = file.read_bytes()
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(128, len(whole))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            found = trie_files.read(path)
        except DamagedArraysError:
            found = None
        if found is not None:
            passed += 1
            assert walked(found) == found.n_nodes
            for position in range(found.n_items):
                assert position in found.leaf(position)  # type: ignore[arg-type]
        file.write_bytes(whole)
    assert passed > 0


def test_what_was_built_passes_the_checks() -> None:
    for titles in (("A",), ("A", "A"), ("A", "AB", "ABC"), WORDS):
        assert check_trie(index_of(titles)) == ""


def test_a_large_index_is_hashed_once_and_after_every_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_folder, "_SMALL_BYTES", 0)
    monkeypatch.setattr(checked_files, "SETTLED_NS", 0)
    checked: list[TitleTrie] = []

    def check(trie: TitleTrie) -> str:
        checked.append(trie)
        return check_trie(trie)

    monkeypatch.setattr(trie_files, "check_trie", check)
    for _ in range(3):
        assert trie_files.read(path) is not None
    assert len(checked) == 1
    (path / ".checked.json").write_text("[" * 5_000)
    assert trie_files.read(path) is not None
    assert len(checked) == 2
    tokens = path / "tokens.npy"
    before = tokens.stat()
    damaged = bytearray(tokens.read_bytes())
    damaged[-1] ^= 1
    tokens.write_bytes(damaged)
    os.utime(tokens, ns=(before.st_atime_ns, before.st_mtime_ns))  # the time of the change itself cannot be set
    with pytest.raises(DamagedArraysError):
        trie_files.read(path)


def test_what_has_just_been_written_may_be_written_again_at_the_same_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_folder, "_SMALL_BYTES", 0)
    assert trie_files.read(path) is not None
    assert not (path / ".checked.json").exists()


def test_a_full_disk_leaves_the_old_index_and_nothing_else(path: Path) -> None:
    with largest_file(150), pytest.raises(DiskFullError, match=r"index: .* \([0-9,]+ bytes free\)"):
        trie_files.write(index_of(("Brazil", "Up", "Heat")), path)
    found = trie_files.read(path)
    assert found is not None
    assert content(found) == content(index_of(WORDS))
    assert [p.name for p in path.parent.iterdir()] == ["index"]
