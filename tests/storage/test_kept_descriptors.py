"""Reading a file's bytes leaves SQLite's locks of it alone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from genrec_edge.storage import kept_descriptors
from genrec_edge.storage.kept_descriptors import close_gone, descriptor, make_empty, read_at, write_at

OTHER_PROCESS = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('INSERT INTO t VALUES (1)')"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Returns an empty table in a file."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t(a)")
    return path


def test_a_lock_holds_while_the_bytes_are_read(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for writes in (False, True, False):
            with descriptor(path, writes=writes) as number:
                assert read_at(number, 6, 0) == b"SQLite"
        done = subprocess.run([sys.executable, "-c", OTHER_PROCESS, path], capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr


def test_descriptors_of_files_that_are_gone_are_closed(path: Path, tmp_path: Path) -> None:
    with descriptor(path) as first, descriptor(path) as second:
        assert first == second
    path.unlink()
    n_before = len(list(Path("/proc/self/fd").iterdir()))
    for i in range(300):
        one = tmp_path / f"{i}.bin"
        one.write_bytes(b"1234")
        with descriptor(one, writes=True) as number:
            write_at(number, b"xy", 1)
            assert read_at(number, 10, 0) == b"1xy4"
        if i % 2:
            one.unlink()
    assert len(list(Path("/proc/self/fd").iterdir())) <= n_before + kept_descriptors._MAX_KEPT


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a file"), descriptor(path):
            pass


def test_an_empty_file_is_made_once_and_stays_open_until_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    make_empty(path, 0o600)
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (0, 0o600)
    with pytest.raises(FileExistsError):
        make_empty(path, 0o600)

    def is_open() -> bool:
        return any(str(path) in str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())

    close_gone()
    assert is_open()
    path.unlink()
    close_gone()
    assert not is_open()
