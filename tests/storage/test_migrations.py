"""A made-up second migration on each kind of SQLite file: catalog, prior and profiles."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.catalog import edit, schema
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.schema import CATALOG
from genrec_edge.catalog.writer import build
from genrec_edge.errors import CatalogError, DatasetError, GenRecError
from genrec_edge.prior.db import PRIOR
from genrec_edge.profiles.db import PROFILES
from genrec_edge.storage.migrations import expected_tables, migrate, version_of
from genrec_edge.storage.sqlite_digest import HEADER_BYTES, parse_header
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.storage.migrations import Migration
    from genrec_edge.storage.sqlite import Mode, SqliteFormat

MODES: tuple[Mode, ...] = ("ro", "rw")
FORMATS = {"catalog": CATALOG, "prior": PRIOR, "profiles": PROFILES}


def m002_notes(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE notes(text TEXT)")
    connection.execute("INSERT INTO notes VALUES ('made by the migration')")


def m003_ended(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE more(x)")
    raise RuntimeError("interrupted")


def m002_commits(connection: sqlite3.Connection) -> None:
    connection.executescript("CREATE TABLE notes(text TEXT)")


@pytest.fixture(params=FORMATS)
def old(request: pytest.FixtureRequest) -> SqliteFormat:
    """The format as it is today, with one version."""
    return FORMATS[request.param]


@pytest.fixture
def old_path(old: SqliteFormat, tmp_path: Path) -> Path:
    """A file of today's version."""
    path = tmp_path / "old.db"
    if old is CATALOG:
        (tmp_path / "old.csv").write_text("title\nHeat\n")
        build(tmp_path / "old.csv", path)
        return path
    path.touch()
    with old.creating(path) as connection:
        assert version_of(connection) == 1
    return path


def later(old: SqliteFormat, *migrations: Migration) -> SqliteFormat:
    return replace(old, migrations=(*old.migrations, *migrations))


def header(path: Path) -> tuple[int, int]:
    """Return application id and user version as they stand in the file."""
    data = path.read_bytes()
    return int.from_bytes(data[68:72], "big"), int.from_bytes(data[60:64], "big")


def notes(connection: sqlite3.Connection) -> list[str]:
    return [text for (text,) in connection.execute("SELECT text FROM notes")]


def test_files_keep_their_ids_and_versions(old: SqliteFormat, old_path: Path) -> None:
    ids = {"catalog": 0x47524543, "prior": 0x47525052, "file of profiles": 0x47525046}
    assert header(old_path) == (ids[old.name], 1)


def test_an_old_file_opened_for_writing_is_brought_up_to_date_once(old: SqliteFormat, old_path: Path) -> None:
    new = later(old, m002_notes)
    for _ in range(2):
        with new.writing(old_path) as connection:
            assert notes(connection) == ["made by the migration"]
    assert header(old_path) == (old.application_id, 2)
    with new.opened(old_path, "ro") as connection:
        assert version_of(connection) == 2


def test_several_migrations_run_in_order(old: SqliteFormat, old_path: Path) -> None:
    def m003_add(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('third')")

    with later(old, m002_notes, m003_add).opened(old_path, "rw") as connection:
        assert notes(connection) == ["made by the migration", "third"]
    assert header(old_path)[1] == 3


def test_a_read_only_open_leaves_an_old_file_as_it_is(old: SqliteFormat, old_path: Path) -> None:
    before = old_path.read_bytes()
    with later(old, m002_notes).opened(old_path, "ro") as connection:
        assert version_of(connection) == 1
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'notes'").fetchone() is None
    assert old_path.read_bytes() == before


def test_a_new_file_is_made_of_the_newest_version(old: SqliteFormat, tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    path.touch()
    new = replace(later(old, m002_notes), check=lambda _: None)  # a catalog has more than its migrations make
    with new.creating(path) as connection:
        assert notes(connection) == ["made by the migration"]
    assert header(path) == (old.application_id, 2)
    with new.opened(path, "rw") as connection:
        assert notes(connection) == ["made by the migration"]


def test_an_earlier_program_refuses_a_newer_file_with_one_line(old: SqliteFormat, old_path: Path) -> None:
    with later(old, m002_notes).writing(old_path):
        pass
    for mode in MODES:
        message = "has format 2; this program knows formats up to 1"
        with pytest.raises(old.invalid, match=message) as caught, old.opened(old_path, mode):
            pass
        assert "\n" not in caught.value.message
        assert caught.value.hint == "install a newer genrec-edge"


def test_an_interrupted_migration_leaves_the_version_before(old: SqliteFormat, old_path: Path) -> None:
    with pytest.raises(RuntimeError, match="interrupted"), later(old, m002_notes, m003_ended).writing(old_path):
        pass
    assert header(old_path)[1] == 2
    with later(old, m002_notes).writing(old_path) as connection:
        assert notes(connection) == ["made by the migration"]
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'more'").fetchone() is None


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from genrec_edge.storage.sqlite import SqliteFormat
from {module} import {name} as old

def m002_killed(connection):
    connection.execute("PRAGMA cache_size = 1")  # so that changes reach the file before the commit
    connection.execute("CREATE TABLE notes(text TEXT)")
    for _ in range(50):
        connection.execute("INSERT INTO notes VALUES (hex(randomblob(4000)))")
    os.kill(os.getpid(), signal.SIGKILL)

with replace(old, migrations=(*old.migrations, m002_killed)).writing(Path(sys.argv[1])):
    pass
"""
MODULES = {
    "catalog": ("genrec_edge.catalog.schema", "CATALOG"),
    "prior": ("genrec_edge.prior.db", "PRIOR"),
    "file of profiles": ("genrec_edge.profiles.db", "PROFILES"),
}


def test_a_killed_migration_leaves_the_file_as_it_was(old: SqliteFormat, old_path: Path) -> None:
    module, name = MODULES[old.name]
    script = KILLED.format(module=module, name=name)
    before = old_path.read_bytes()
    done = subprocess.run([sys.executable, "-c", script, old_path], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert old_path.with_name("old.db-journal").exists()
    assert old_path.stat().st_size > len(before)
    with old.opened(old_path, "ro") as connection:
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'notes'").fetchone() is None
    assert old_path.read_bytes() == before
    with later(old, m002_notes).writing(old_path) as connection:
        assert notes(connection) == ["made by the migration"]


def test_a_migration_that_ends_its_transaction_is_a_bug_of_ours(old: SqliteFormat, old_path: Path) -> None:
    new = later(old, m002_commits)
    with pytest.raises(RuntimeError, match="migration 2 ended the transaction"), new.writing(old_path):
        pass


def test_other_tables_than_those_of_the_version_are_refused_where_they_are_fixed(tmp_path: Path) -> None:
    path = tmp_path / "prior.db"
    path.touch()
    with PRIOR.creating(path) as connection:
        connection.execute("CREATE VIEW endless AS SELECT 1")
    before = path.read_bytes()
    new = later(PRIOR, m002_notes)
    with pytest.raises(DatasetError, match="its tables are not those of format 1"), new.writing(path):
        pass
    assert path.read_bytes() == before
    assert "notes" in expected_tables((*PRIOR.migrations, m002_notes))


def test_a_file_without_a_version_is_damaged(old: SqliteFormat, old_path: Path) -> None:
    with closing(sqlite3.connect(old_path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    with pytest.raises(GenRecError, match="no version of the format") as caught, old.opened(old_path, "rw"):
        pass
    assert type(caught.value) is old.invalid


def test_a_file_that_grows_meanwhile_is_not_cut_off(old: SqliteFormat, old_path: Path) -> None:
    """While another process commits, the header may be newer than the end of the file; its journal is there then."""
    with closing(sqlite3.connect(old_path, isolation_level=None)) as other:
        whole = old_path.read_bytes()
        n_bytes = parse_header(whole[:HEADER_BYTES]).n_bytes  # without a digest behind them
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE t(x)")  # makes the journal
        with old_path.open("r+b") as file:
            file.truncate(n_bytes - 1)
        old.check_header(old_path)
        old_path.write_bytes(whole)
        other.execute("ROLLBACK")
    old_path.write_bytes(whole[: n_bytes - 1])
    with pytest.raises(old.invalid, match="is cut off"):
        old.check_header(old_path)


def test_one_of_two_processes_migrates(old_path: Path, old: SqliteFormat) -> None:
    """A process that saw the old version finds the new one when it holds the lock, and leaves it."""

    def m002_once(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE notes(text TEXT)")  # fails the second time

    migrations = (*old.migrations, m002_once)

    class Late(sqlite3.Connection):
        """Lets another process migrate between the first look at the version and the lock."""

        waiting = True

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql == "BEGIN IMMEDIATE" and self.waiting:
                self.waiting = False
                with closing(sqlite3.connect(old_path, isolation_level=None)) as other:
                    migrate(other, migrations, old.application_id)
            return super().execute(sql, parameters)

    with closing(sqlite3.connect(old_path, isolation_level=None, factory=Late)) as connection:
        migrate(connection, migrations, old.application_id)
        assert version_of(connection) == 2


def test_a_catalog_is_migrated_by_a_command_that_writes_and_not_by_one_that_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path = tmp_path / "films.csv", tmp_path / "films.db"
    source.write_text("id,title\n1,Heat\n2,Alien\n")
    build(source, path)
    monkeypatch.setattr(schema, "CATALOG", later(CATALOG, m002_notes))
    with Catalog.open(path) as catalog:
        assert catalog.n_items == 2
    assert header(path) == (CATALOG.application_id, 1)
    edit.add_item(path, "Ronin")
    assert header(path) == (CATALOG.application_id, 2)
    with Catalog.open(path) as catalog:
        assert catalog.n_items == 3
    monkeypatch.setattr(schema, "CATALOG", CATALOG)
    with pytest.raises(CatalogError, match="formats up to 1"):
        Catalog.open(path)
