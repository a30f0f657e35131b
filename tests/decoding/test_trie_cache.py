"""The index of a catalog on this machine: found again, brought up to date when the catalog changed, no leftovers."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog import edit, writer
from genrec_edge.catalog.reader import Catalog
from genrec_edge.decoding import trie_cache
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.decoding.trie_files import ARRAYS
from genrec_edge.storage.locks import locked
from genrec_edge.storage.partial_files import partial_file
from tests.support.coordinates import token_list
from tests.support.faults import largest_file

if TYPE_CHECKING:
    from genrec_edge.coordinates import TokenId


def ids(text: str) -> list[TokenId]:
    return token_list(map(ord, text))


@pytest.fixture
def path(tmp_path: Path, own_home: Path) -> Path:
    (tmp_path / "films.csv").write_text("id,title\n1,Alien\n2,Brazil\n")
    writer.build(tmp_path / "films.csv", tmp_path / "films.db")
    return tmp_path / "films.db"


def test_it_is_built_once_for_each_tokenizer_and_again_after_a_change(path: Path) -> None:
    told: list[tuple[int, int]] = []

    def load(fingerprint: str) -> int:
        with Catalog.open(path) as catalog:
            return trie_cache.load(catalog, ids, fingerprint, lambda *done: told.append(done)).n_items

    assert load("one") == 2
    assert told == [(2, 2)]
    assert load("one") == 2
    assert len(told) == 1  # nothing was tokenised again
    assert load("other") == 2
    assert len(told) == 2
    edit.add_item(path, "Heat")
    assert load("one") == 3
    assert told[-1] == (3, 3)


def test_what_killed_builders_left_behind_is_removed(path: Path) -> None:
    with Catalog.open(path) as catalog:
        folder = trie_cache.index_path(catalog, "one")
        leftover = folder.parent / ".work-killed"
        leftover.mkdir(parents=True)
        (leftover / "tokens.npy").write_bytes(b"half")
        trie_cache.load(catalog, ids, "one")
    assert sorted(p.name for p in folder.parent.iterdir()) == [".lock", folder.name]


WORDS = ("Heat", "Alien", "Matrix, The", "The Matrix", "Hugo", "Hugo Pool", "Brazil")
# What other programs do; :r is a row that may exist, :t a title, :y a year. None of them knows of keys.
EDITS = (
    "INSERT OR IGNORE INTO items(id, title, year, key) VALUES ('x' || :r, :t, :y, '')",
    'DELETE FROM items WHERE "row" = :r',
    'UPDATE items SET title = :t WHERE "row" = :r',
    'UPDATE items SET year = :y WHERE "row" = :r',
    'UPDATE OR IGNORE items SET "row" = :r + 60 WHERE "row" = :r',
    "REPLACE INTO items(\"row\", id, title, year, key) VALUES (:r, :r, :t, :y, '')",
    "REPLACE INTO items(id, title, year, key) VALUES (:r, :t, :y, '')",  # takes another row away, and says nothing
    "UPDATE items SET key = key",
)


@pytest.fixture
def many(tmp_path: Path, own_home: Path) -> Path:
    """Returns a catalog of 80 items with 7 titles, so that a change touches many spellings."""
    rng = random.Random(5)
    lines = [f'{i},"{rng.choice(WORDS)} {rng.randrange(12)}",{rng.choice(["", 1990, 1991])}\n' for i in range(1, 81)]
    (tmp_path / "many.csv").write_text("id,title,year\n" + "".join(lines))
    writer.build(tmp_path / "many.csv", tmp_path / "many.db")
    return tmp_path / "many.db"


def run_sql(path: Path, *statements: str, **values: object) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        for statement in statements:
            other.execute(statement, values)


def loaded(path: Path) -> tuple[TitleTrie, int]:
    """Return the index of a catalog, which is the one built from all its titles, and how many were tokenised for it."""
    texts: list[str] = []

    def tokenize(text: str) -> list[TokenId]:
        texts.append(text)
        return ids(text)

    with Catalog.open(path) as catalog:
        index = trie_cache.load(catalog, tokenize, "one")
        expected = build(catalog.titles(), ids, TrieKey(catalog.revision, "one"))
    assert index.key == expected.key
    for name in ARRAYS:
        assert getattr(index, name).dtype == getattr(expected, name).dtype
        assert getattr(index, name).tolist() == getattr(expected, name).tolist(), name
    return index, len(texts)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_it_follows_whatever_other_programs_do(many: Path, seed: int) -> None:
    rng = random.Random(seed)
    loaded(many)
    n_followed = 0
    for _ in range(25):
        for _ in range(rng.randrange(1, 4)):
            values = {"r": rng.randrange(1, 90), "t": f"{rng.choice(WORDS)} {rng.randrange(12)}", "y": 1990}
            statement = rng.choice(EDITS[:-1])
            run_sql(many, statement, **{name: value for name, value in values.items() if f":{name}" in statement})
        index, n_tokenized = loaded(many)
        n_followed += n_tokenized < index.n_items
    assert n_followed > 10


def test_a_reader_keeps_the_index_it_has(many: Path) -> None:
    index, _ = loaded(many)
    before = {name: getattr(index, name).tolist() for name in ARRAYS}
    edit.remove(many, ["7"])
    assert loaded(many)[0].n_items == index.n_items - 1
    assert {name: getattr(index, name).tolist() for name in ARRAYS} == before


def test_a_catalog_of_an_older_version_is_followed_from_its_first_change_on(many: Path) -> None:
    triggers = [f"items_revision_{event}" for event in ("INSERT", "UPDATE", "DELETE")]
    run_sql(many, "DROP TABLE changes", *(f"DROP TRIGGER {name}" for name in triggers))
    revise = "UPDATE meta SET value = lower(hex(randomblob(8))) WHERE name = 'revision'"
    for name in triggers:
        event = name.rpartition("_")[2]
        run_sql(many, f"CREATE TRIGGER {name} AFTER {event} ON items BEGIN {revise}; END")
    assert loaded(many)[1] == 80
    run_sql(many, "UPDATE items SET title = 'Another' WHERE id = '7'")
    assert loaded(many)[1] == 80
    edit.add_item(many, "Solaris")
    assert loaded(many)[1] == 1
    edit.remove(many, ["81"])
    assert loaded(many)[1] == 0


@pytest.mark.slow
def test_many_changes_are_not_followed_and_do_not_fill_the_file(many: Path) -> None:
    loaded(many)
    with closing(sqlite3.connect(many)) as other, other:
        for _ in range(700):
            other.execute(EDITS[-1])
        assert other.execute("SELECT count(*) FROM changes").fetchone() == (50_000,)
    run_sql(many, "UPDATE items SET title = 'Another' WHERE id = '7'")
    assert loaded(many)[1] == 80


def test_the_changes_of_another_file_at_the_same_place_are_not_followed(many: Path, tmp_path: Path) -> None:
    shutil.copy(many, tmp_path / "other.db")
    edit.add_item(many, "Solaris")
    edit.add_item(tmp_path / "other.db", "Stalker")
    loaded(many)
    edit.add_item(tmp_path / "other.db", "Mirror")
    (tmp_path / "other.db").replace(many)
    assert loaded(many)[1] == 82


def test_an_index_is_of_one_moment_whatever_happens_while_titles_are_tokenised(many: Path) -> None:
    def tokenize(text: str) -> list[TokenId]:
        run_sql(many, "UPDATE items SET title = 'Another' WHERE id = '7'")
        return ids(text)

    with Catalog.open(many) as catalog:
        before = catalog.revision
        assert trie_cache.load(catalog, tokenize, "one").key.revision == before
    loaded(many)


def folder_of(path: Path) -> Path:
    """Return the folder around the index of a catalog."""
    with Catalog.open(path) as catalog:
        return trie_cache.index_path(catalog, "one").parent


def test_a_damaged_index_is_built_again_with_a_word(many: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded(many)
    tokens = folder_of(many) / "trie" / "tokens.npy"
    damaged = bytearray(tokens.read_bytes())
    damaged[-3] ^= 4
    tokens.write_bytes(damaged)
    assert loaded(many)[1] == 80
    assert [r.getMessage() for r in caplog.records if "is damaged (tokens.npy is not" in r.getMessage()]
    caplog.clear()
    assert loaded(many)[1] == 0
    assert not caplog.records


@pytest.mark.parametrize("what", ["cache", "indexes", "folder", "lock"])
def test_an_index_that_cannot_be_kept_serves_this_process(
    many: Path, own_home: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A file, or a folder, lies where a folder, or a file, has to be: nobody can write there, not even root."""
    folder = folder_of(many)
    if what == "lock":
        (folder / ".lock").mkdir(parents=True)
    else:
        in_the_way = {"cache": own_home / "cache", "indexes": own_home / "cache" / "indexes", "folder": folder}[what]
        shutil.rmtree(in_the_way, ignore_errors=True)
        in_the_way.parent.mkdir(parents=True, exist_ok=True)
        in_the_way.write_text("in the way")
    for _ in range(2):
        assert loaded(many)[1] == 80
        (record,) = caplog.records
        assert record.getMessage().startswith(f"the title index is not kept in {folder}, and is built again")
        caplog.clear()


def test_an_index_that_finds_no_room_serves_this_process(many: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded(many)
    run_sql(many, "UPDATE items SET title = 'Another' WHERE id = '7'")
    with largest_file(150):
        followed = loaded(many)[1]
    assert 0 < followed < 80
    assert "bytes free)" in caplog.text
    assert sorted(p.name for p in folder_of(many).iterdir()) == [".lock", "trie"]
    caplog.clear()
    assert loaded(many)[1] == followed  # the one before is still there
    assert loaded(many)[1] == 0
    assert not caplog.records


def test_what_a_killed_builder_left_goes_although_nothing_is_built(many: Path) -> None:
    loaded(many)
    folder = folder_of(many)
    (folder / ".work-killed").mkdir()
    (folder / ".work-killed" / "made.replaced").mkdir()
    (folder / ".holder").write_text("1")
    (folder / partial_file(folder / "habits-1.npz").name.replace(f"-{os.getpid()}.", "-4194305.")).touch()
    living = partial_file(folder / "habits-2.npz")
    living.touch()
    assert loaded(many)[1] == 0
    assert sorted(p.name for p in folder.iterdir()) == sorted([living.name, ".lock", "trie"])
    (folder / ".work-alive").mkdir()
    with locked(folder / ".lock", folder):
        assert loaded(many)[1] == 0  # and nobody waits
        assert (folder / ".work-alive").exists()


def test_the_longest_unused_indexes_go_first(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trie_cache, "MAX_FOLDERS", 3)
    catalogs = [Path(shutil.copy(many, tmp_path / f"c{i}.db")) for i in range(5)]
    for age, path in enumerate(catalogs[:3]):
        loaded(path)
        os.utime(folder_of(path), ns=(10**9 * age, 10**9 * age))
    loaded(catalogs[0])  # now the second one is the longest unused
    with locked(folder_of(catalogs[1]) / ".lock", many):  # but is being built
        os.utime(folder_of(catalogs[1]), ns=(1, 1))
        loaded(catalogs[3])
    assert [folder_of(path).exists() for path in catalogs] == [True, True, True, True, False]
    os.utime(folder_of(catalogs[1]), ns=(1, 1))
    loaded(catalogs[4])
    assert [folder_of(path).exists() for path in catalogs] == [True, False, False, True, True]
    monkeypatch.setattr(trie_cache, "MAX_BYTES", 1)
    run_sql(many, "UPDATE items SET title = 'Another' WHERE id = '7'")
    loaded(many)
    assert [path.name for path in folder_of(many).parent.iterdir()] == [folder_of(many).name]
