"""The file of profiles: its rights, and everything that can be wrong with it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.errors import DatasetError, GenRecError, LockedError, UsageError
from genrec_edge.profiles.db import parts_from_json, parts_to_json, remove_profiles
from genrec_edge.profiles.store import ProfileStore
from genrec_edge.profiles.summaries import HistorySummary
from genrec_edge.profiles.tastes import Tastes
from genrec_edge.records import Fact
from tests.support.profiles import RecordingSummarizer, random_events

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.catalog.reader import Catalog


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path / "folder" / "profiles.db")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_only_its_owner_may_read_the_file(films: Catalog, store: ProfileStore) -> None:
    store.update("u", random_events(films, 1), films, RecordingSummarizer(films))
    assert store.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["films", "text", "other", "newer", "view", "parts", "weights", "folder", "blob"])
def test_any_other_file_is_refused_in_one_line(
    name: str, films: Catalog, films_path: Path, store: ProfileStore, tmp_path: Path
) -> None:
    store.update("u", random_events(films, 10), films, RecordingSummarizer(films))
    path = store.path
    statements = {
        "newer": "PRAGMA user_version = 2",
        "view": "CREATE VIEW endless AS SELECT 1",
        "parts": "UPDATE profiles SET parts = '[{\"text\": 1}]'",
        "weights": "UPDATE profiles SET parts = replace(parts, '\"total\": ', '\"total\": -')",
        "blob": "UPDATE profiles SET text = x'ff'",
    }
    if name == "films":
        shutil.copy(films_path, path)
    elif name == "text":
        path.write_bytes(b"no database\n" * 100)
    elif name == "folder":
        path.unlink()
        path.mkdir()
    elif name == "other":
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t(x)")
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statements[name])
    expected = UsageError if name == "folder" else DatasetError

    def update() -> object:
        return store.update("u", random_events(films, 15), films, RecordingSummarizer(films))

    with pytest.raises(expected, match=r"profiles\.db") as raised:
        store.get("u") if name == "blob" else update()
    assert "\n" not in raised.value.message
    assert raised.value.hint


@pytest.mark.slow
def test_flipped_bytes_raise_our_own_errors_alone(films: Catalog, store: ProfileStore) -> None:
    store.update("u", random_events(films, 40), films, RecordingSummarizer(films))
    whole = store.path.read_bytes()
    rng = np.random.default_rng(2)
    n_errors = 0
    for position in [*range(0, 100, 3), *rng.integers(0, len(whole), 150).tolist()]:
        broken = bytearray(whole)
        broken[position] ^= int(rng.integers(1, 256))
        store.path.write_bytes(broken[: int(rng.integers(1, len(whole)))] if position % 5 == 0 else broken)
        try:
            store.get("u")
            store.context("u")
            store.update("u", random_events(films, 5, start=40), films, RecordingSummarizer(films))
            store.forget("u")
        except GenRecError:
            n_errors += 1
        for left in store.path.parent.glob("profiles.db-*"):
            left.unlink()
    assert n_errors > 20


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"facts": [[1, 2]], "total": 1, "items": 1}', "[" * 10_000])
def test_parts_with_wrong_tastes_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="its parts are not a list of summaries"):
        parts_from_json(f'[{{"text": "", "kind": "facts", "tastes": {text}}}]')


def test_parts_come_back_as_they_were_written() -> None:
    tastes = Tastes()
    tastes.add([[Fact("genres", "Drama"), Fact("cast", 'O"Hara')], [Fact("genres", "Drama")]])
    parts = (HistorySummary("Drama", "facts", tastes), HistorySummary("", "facts", Tastes()))
    assert parts_from_json(parts_to_json(parts)) == parts
    assert parts_from_json("[]") == ()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.parametrize("how", ["read", "written"])
def test_a_file_that_others_may_read_is_made_private_again(
    films: Catalog, store: ProfileStore, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.update("u", random_events(films, 1), films, RecordingSummarizer(films))
    store.path.chmod(0o644)
    if how == "read":
        store.get("u")
    else:
        store.update("u", random_events(films, 2), films, RecordingSummarizer(films))
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert [record.getMessage() for record in caplog.records] == [
        f"others could read the profiles in {store.path}; now only you can"
    ]


def test_the_file_of_another_program_keeps_its_rights(films_path: Path, store: ProfileStore) -> None:
    store.path.parent.mkdir()
    shutil.copy(films_path, store.path)
    store.path.chmod(0o644)
    with pytest.raises(DatasetError):
        store.users()
    assert store.path.stat().st_mode & 0o777 == 0o644


def test_a_pipe_is_no_file_of_profiles(films: Catalog, store: ProfileStore) -> None:
    store.path.parent.mkdir()
    os.mkfifo(store.path)
    with pytest.raises(UsageError, match=r"profiles\.db cannot be used \(it is not a file\)"):
        store.update("u", random_events(films, 1), films, RecordingSummarizer(films))


OTHER_PROCESS = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('DELETE FROM events')"


@pytest.mark.slow
def test_what_another_thread_locked_stays_locked(
    films: Catalog, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing any descriptor of the file would free this process's locks of it, and another process could write."""
    monkeypatch.setattr("genrec_edge.storage.sqlite.BUSY_TIMEOUT_S", 0.1)
    store.update("u", random_events(films, 1), films, RecordingSummarizer(films))

    def refused() -> str:
        command = [sys.executable, "-c", OTHER_PROCESS, str(store.path)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LockedError):
            store.update("u", random_events(films, 2), films, RecordingSummarizer(films))
        assert "database is locked" in refused()
        connection.execute("ROLLBACK")
        connection.execute("PRAGMA user_version = 99")
        connection.execute("BEGIN EXCLUSIVE")
        assert not remove_profiles(store.path, why="it is not removed: its version is a newer one")
        assert "database is locked" in refused()
    assert refused() == ""
