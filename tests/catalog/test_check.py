"""Values of a catalog that others wrote, and bytes that changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog import check, edit
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.resolver import TitleResolver
from genrec_edge.errors import CatalogError, GenRecError
from genrec_edge.storage import checked_files, paths
from genrec_edge.storage.sqlite_digest import digest_state, parse_header, write_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

WRONG_VALUES = {
    "title blob": ("UPDATE items SET title = x'80' WHERE id = '2'", "title"),
    "title not text": ("UPDATE items SET title = CAST(x'80' AS TEXT) WHERE id = '2'", "UTF-8"),
    "title invisible": ("UPDATE items SET title = char(8203) WHERE id = '2'", "no title"),
    "title empty": ("UPDATE items SET title = '' WHERE id = '2'", "no title"),
    "id blob": ("UPDATE items SET id = x'00' WHERE id = '2'", "id"),
    "id empty": ("UPDATE items SET id = '' WHERE id = '2'", "id"),
    "key blob": ("UPDATE items SET \"key\" = x'00' WHERE id = '2'", "key"),
    "year text": ("UPDATE items SET year = 'soon' WHERE id = '2'", "year"),
    "year real": ("UPDATE items SET year = 1.5 WHERE id = '2'", "year"),
    "year blob": ("UPDATE items SET year = x'31' WHERE id = '2'", "year"),
    "column blob": ("UPDATE items SET length = x'00' WHERE id = '2'", "length"),
    "list blob": ("INSERT INTO item_values VALUES (1, 'genres', x'00')", "list"),
    "field blob": ("INSERT INTO item_values VALUES (1, x'00', 'a')", "list"),
    "item text": ("INSERT INTO item_values VALUES ('one', 'genres', 'a')", "list"),
    "separators nested": (f"INSERT OR REPLACE INTO meta VALUES ('separators', '{'[' * 50_000}')", "meta"),
    "separators no dict": ("INSERT OR REPLACE INTO meta VALUES ('separators', '[1]')", "separators"),
    "separators numbers": ("INSERT OR REPLACE INTO meta VALUES ('separators', '{\"genres\": 1}')", "separators"),
    "separators empty": ("INSERT OR REPLACE INTO meta VALUES ('separators', '{\"genres\": \"\"}')", "separators"),
    "changed row text": ("INSERT INTO changes(revision, \"row\") VALUES ('a', 'one')", "changes"),
    "changed row blob": ("INSERT INTO changes(revision, \"row\") VALUES ('a', x'00')", "changes"),
    "revision blob": ("INSERT INTO changes(revision, \"row\") VALUES (x'00', 1)", "changes"),
    "meta blob": ("UPDATE meta SET value = x'00' WHERE name = 'name'", "meta"),
}


@pytest.fixture(autouse=True)
def own_cache(own_home: Path) -> None:
    """Keeps what is remembered of catalogs in a folder of each test."""


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("has_digest", [True, False])
@pytest.mark.parametrize("kind", WRONG_VALUES)
def test_a_wrong_value_is_refused(kind: str, has_digest: bool, nine_films_path: Path) -> None:
    statement, message = WRONG_VALUES[kind]
    execute(nine_films_path, statement)
    if has_digest:
        write_digest(nine_films_path)
    for _ in range(2):  # what was refused is not remembered as right
        with pytest.raises(CatalogError, match=message) as error:
            Catalog.open(nine_films_path)
        assert error.value.message.isprintable()
    with pytest.raises(CatalogError, match=message):
        edit.add_item(nine_films_path, "Another")


def test_a_value_that_may_not_be_missing(nine_films_path: Path) -> None:
    for column in ("title", "id", '"key"'):
        path = nine_films_path.with_name(f"{column.strip(chr(34))}.db")
        shutil.copy(nine_films_path, path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            sql = f"replace(sql, '{column} TEXT NOT NULL', '{column} TEXT')"
            connection.execute(f"UPDATE sqlite_master SET sql = {sql} WHERE name = 'items'")
        execute(path, f'UPDATE items SET {column} = NULL WHERE "row" = 2')
        with pytest.raises(CatalogError, match="null"):
            Catalog.open(path)


def answers(path: Path) -> list[object]:
    """Return what a catalog says: everything that a request reads of it."""
    with Catalog.open(path) as catalog:
        rows = [row for row, _, _ in catalog.titles()]
        resolver = TitleResolver(catalog)
        return [
            catalog.meta,
            catalog.columns,
            catalog.list_columns,
            catalog.items(rows),
            list(catalog.title_keys()),
            catalog.list_values(rows, catalog.list_columns),
            [catalog.search(text) for text in ("heat", "alien", "a", "8½", "odyssey space")],
            [catalog.by_keys([text]) for text in ("heat", "alien", "the matrix")],
            sorted(catalog.by_ids(["007", "2", "x"]).items()),
            [
                catalog.filter(where).tolist()
                for where in ("genre = 'Crime'", "length > 120", "year = 1995", "id > '4'")
            ],
            [resolver.resolve(text) for text in ("Heat (1986)", "aliens", "Matrx", "2001: A Space Odyssey")],
        ]


def outcome(path: Path) -> list[object] | GenRecError:
    """Return what a catalog says, or the error."""
    try:
        return answers(path)
    except GenRecError as e:
        return e


def mutant(whole: bytes, seed: int, n_bytes: int) -> bytes:
    """Return a file with one flipped bit or one other byte, in the first `n_bytes`."""
    draw = random.Random(seed)
    data = bytearray(whole)
    place = draw.randrange(n_bytes) if draw.random() < 0.8 else draw.randrange(200)
    data[place] ^= 1 << draw.randrange(8) if draw.random() < 0.7 else draw.randrange(1, 256)
    return bytes(data)


@pytest.mark.slow
def test_a_changed_byte_is_noticed_or_changes_no_answer(
    nine_films_path: Path, tmp_path: Path, trials: Callable[[int, int], int]
) -> None:
    whole, expected = nine_films_path.read_bytes(), answers(nine_films_path)
    path, n_noticed = tmp_path / "mutant.db", 0
    n_trials = trials(25, 1_000)
    for seed in range(n_trials):
        path.write_bytes(mutant(whole, seed, len(whole)))
        found = outcome(path)
        if isinstance(found, GenRecError):
            assert found.exit_code == 6, found
            assert found.message.isprintable()
            n_noticed += 1
        else:
            assert found == expected, seed
    sys.stdout.write(f"{n_noticed} of {n_trials} noticed, the others change no answer\n")
    assert n_noticed > n_trials // 2


@pytest.mark.slow
def test_a_changed_byte_of_a_catalog_without_a_digest_ends_well(
    nine_films_path: Path, tmp_path: Path, trials: Callable[[int, int], int]
) -> None:
    whole = nine_films_path.read_bytes()
    whole, expected = whole[: parse_header(whole).n_bytes], answers(nine_films_path)
    path, n_other = tmp_path / "mutant.db", 0
    n_trials = trials(25, 1_000)
    for seed in range(n_trials):
        path.write_bytes(mutant(whole, seed, len(whole)))
        found = outcome(path)
        if isinstance(found, GenRecError):
            assert found.message.isprintable()
        else:
            n_other += found != expected
    sys.stdout.write(f"{n_other} of {n_trials} other answers\n")
    assert n_other < n_trials // 4  # flipped letters of titles and of meta


def test_a_flipped_letter_of_the_films_is_noticed(films_path: Path, tmp_path: Path) -> None:
    data = bytearray(films_path.read_bytes())
    data[data.index(b"Casablanca")] ^= 2
    (tmp_path / "films.db").write_bytes(data)
    with pytest.raises(CatalogError, match="its bytes are not those that were written"):
        Catalog.open(tmp_path / "films.db")


def test_every_write_of_ours_ends_with_a_digest(nine_films_path: Path) -> None:
    assert digest_state(nine_films_path) == "right"
    edit.add_item(nine_films_path, "Another")
    assert digest_state(nine_films_path) == "right"
    edit.remove(nine_films_path, ["2"])
    assert digest_state(nine_films_path) == "right"
    execute(nine_films_path, "UPDATE items SET year = 1900 WHERE id = '4'")
    assert digest_state(nine_films_path) == "none"
    Catalog.open(nine_films_path).close()
    edit.add_item(nine_films_path, "One more")
    assert digest_state(nine_films_path) == "right"


def test_values_are_looked_at_once_for_each_state_of_a_file(
    nine_films_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_checks: list[int] = []
    whole_check = check._check_values

    def counted(connection: sqlite3.Connection) -> None:
        n_checks.append(1)
        whole_check(connection)

    monkeypatch.setattr(check, "_check_values", counted)
    monkeypatch.setattr(checked_files, "SETTLED_NS", -1)
    for _ in range(3):
        Catalog.open(nine_films_path).close()
    assert len(n_checks) == 1
    status = nine_films_path.stat()
    data = bytearray(nine_films_path.read_bytes())
    data[data.index(b"Alien")] ^= 2
    nine_films_path.write_bytes(data)
    os.utime(nine_films_path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(CatalogError, match="bytes"):
        Catalog.open(nine_films_path)


def test_a_catalog_of_just_now_is_looked_at_again(nine_films_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could still change within one tick of the clock of the file system."""
    monkeypatch.setattr(checked_files, "SETTLED_NS", 3600 * 10**9)
    Catalog.open(nine_films_path).close()
    assert not (paths.cache_path() / check._FILE_NAME).exists()


@pytest.mark.parametrize("text", ["", "[1, 2]", "[" * 100_000, '{"a": ', "\xff"])
def test_what_was_remembered_may_be_anything(text: str, nine_films_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_files, "SETTLED_NS", -1)
    path = paths.cache_path() / "checked-catalogs.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="latin-1")
    Catalog.open(nine_films_path).close()
    assert list(json.loads(path.read_text())) == [str(nine_films_path)]


def test_a_pipe_in_the_place_of_what_was_remembered_keeps_nobody_waiting(nine_films_path: Path) -> None:
    remembered = paths.cache_path() / check._FILE_NAME
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.unlink(missing_ok=True)
    os.mkfifo(remembered)
    with Catalog.open(nine_films_path) as catalog:
        assert catalog.n_items == 9


def test_without_a_cache_folder_a_catalog_is_checked_each_time(
    nine_films_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENREC_EDGE_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        with Catalog.open(nine_films_path) as catalog:
            assert catalog.n_items == 9


def test_a_title_that_another_program_changed_is_found_by_its_new_name(nine_films_path: Path) -> None:
    with Catalog.open(nine_films_path) as catalog:
        resolver = TitleResolver(catalog)
        assert resolver.resolve("Alien").method == "exact"
        execute(
            nine_films_path,
            "UPDATE items SET title = 'Predator' WHERE id = '2'",
            "INSERT INTO items(id, title, \"key\") VALUES ('11', 'Fargo', '?')",
        )
        for name, item_id in (("Predator", "2"), ("predatr", "2"), ("fargo", "11")):
            found = resolver.resolve(name).item
            assert found is not None
            assert found.id == item_id
        match = resolver.resolve("Alien")
        assert match.item is None or match.item.id != "2"
