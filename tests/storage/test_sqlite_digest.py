"""The digest behind a SQLite file: it notices every flipped bit, and other programs do not notice it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.storage.sqlite_digest import HEADER_BYTES, digest_state, parse_header, write_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def execute(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [row for statement in statements for row in connection.execute(statement)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Returns a small database with its digest."""
    path = tmp_path / "a.db"
    execute(path, "CREATE TABLE t(a)", *(f"INSERT INTO t VALUES ('value {i}')" for i in range(200)))
    assert digest_state(path) == "none"
    write_digest(path)
    return path


def test_it_is_right_until_a_byte_changes(path: Path) -> None:
    assert digest_state(path) == "right"
    header = parse_header(path.read_bytes()[:HEADER_BYTES])
    assert path.stat().st_size == header.n_bytes + header.page_bytes
    write_digest(path)
    assert digest_state(path) == "right"
    assert path.stat().st_size == header.n_bytes + header.page_bytes


def test_every_flipped_bit_of_the_pages_is_noticed(path: Path, trials: Callable[[int, int], int]) -> None:
    whole = path.read_bytes()
    header = parse_header(whole)
    for seed in range(trials(200, 20_000)):
        place = random.Random(seed).randrange(8 * header.n_bytes)
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        is_of_header = 16 <= place // 8 < 32 or 92 <= place // 8 < 96  # then the digest is not found
        assert digest_state(path) in ({"wrong", "none"} if is_of_header else {"wrong"}), place


def test_other_programs_read_and_write_the_file_as_before(path: Path) -> None:
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
    assert execute(path, "SELECT count(*) FROM t") == [(200,)]
    assert digest_state(path) == "right"
    execute(path, "UPDATE t SET a = 'value b' WHERE a = 'value 7'")
    assert digest_state(path) == "none"
    write_digest(path)
    execute(path, *(f"INSERT INTO t VALUES ('{'long' * 100} {i}')" for i in range(200)))  # it grows over the digest
    assert digest_state(path) == "none"
    write_digest(path)
    assert execute(path, "PRAGMA integrity_check", "SELECT count(*) FROM t") == [("ok",), (400,)]
    execute(path, "DELETE FROM t WHERE rowid > 10", "VACUUM")
    assert digest_state(path) == "none"
    assert execute(path, "PRAGMA integrity_check", "SELECT count(*) FROM t") == [("ok",), (10,)]


def test_a_rolled_back_change_leaves_it_right(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        for i in range(300):
            connection.execute("INSERT INTO t VALUES (?)", [f"{i}" * 300])
        connection.execute("ROLLBACK")
    assert execute(path, "PRAGMA integrity_check", "SELECT count(*) FROM t") == [("ok",), (200,)]
    assert digest_state(path) in {"right", "none"}


def test_a_file_with_a_write_ahead_log_has_none(path: Path) -> None:
    execute(path, "PRAGMA journal_mode = WAL", "UPDATE t SET a = 'x' WHERE a = 'value 7'")
    assert digest_state(path) == "none"
    write_digest(path)
    assert digest_state(path) == "none"
    execute(path, "PRAGMA journal_mode = DELETE")
    assert digest_state(path) == "none"
    write_digest(path)
    assert digest_state(path) == "right"


def test_what_is_not_a_file_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"Is a directory|not a file"):
        digest_state(tmp_path)
