"""What SQLite raises, as one of our errors about the kind of file it is."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.schema import CATALOG
from genrec_edge.errors import (
    CatalogError,
    DatasetError,
    DiskError,
    DiskFullError,
    GenRecError,
    LockedError,
    UsageError,
)
from genrec_edge.prior.db import PRIOR
from genrec_edge.profiles.db import PROFILES
from tests.support.faults import largest_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

PATH = Path("a.db")
KINDS: dict[str, tuple[Callable[[], AbstractContextManager[None]], type[GenRecError], type[GenRecError]]] = {
    "catalog": (lambda: CATALOG.errors(PATH), CatalogError, CatalogError),
    "prior": (lambda: PRIOR.errors(PATH), UsageError, DatasetError),
    "profiles": (lambda: PROFILES.errors(PATH), UsageError, DatasetError),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "code",
    [
        "SQLITE_BUSY_SNAPSHOT",
        "SQLITE_LOCKED",
        "SQLITE_FULL",
        "SQLITE_READONLY",
        "SQLITE_CANTOPEN",
        "SQLITE_CORRUPT",
        "SQLITE_IOERR_FSYNC",
        "SQLITE_IOERR_SHORT_READ",
    ],
)
def test_every_error_is_one_of_ours_that_names_the_file(kind: str, code: str) -> None:
    block, unusable, damaged = KINDS[kind]
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = getattr(sqlite3, code)
    expected: dict[str, type[GenRecError]] = {
        "SQLITE_BUSY_SNAPSHOT": LockedError,
        "SQLITE_LOCKED": LockedError,
        "SQLITE_FULL": DiskFullError,
        "SQLITE_READONLY": unusable,
        "SQLITE_CANTOPEN": unusable,
        "SQLITE_CORRUPT": damaged,
        "SQLITE_IOERR_FSYNC": DiskError,
        "SQLITE_IOERR_SHORT_READ": damaged,
    }
    with pytest.raises(GenRecError) as caught, block():
        raise error
    assert type(caught.value) is expected[code]
    assert "a.db" in str(caught.value)
    assert caught.value.hint


def test_a_file_that_may_not_grow_is_a_full_disk_with_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "profiles.db"
    path.touch()
    PROFILES.create_tables(path)
    before = path.read_bytes()
    with (
        largest_file(path.stat().st_size + 4096),
        pytest.raises(DiskFullError, match=r"no room to write .*profiles\.db: .*\([0-9,]+ bytes free\)"),
        PROFILES.writing(path) as connection,
    ):
        connection.execute("INSERT INTO profiles VALUES ('u', '', zeroblob(100000), '', '', 0, 0, 0, '')")
    with PROFILES.opened(path, "rw"):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("code", ["SQLITE_CANTOPEN", "SQLITE_IOERR_FSYNC"])
def test_what_sqlite_says_of_a_full_disk_is_understood(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a journal that finds no room it says that it cannot open a file, or that the disk failed."""
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = getattr(sqlite3, code)
    path = tmp_path / "profiles.db"
    with pytest.raises((UsageError, DiskError)), PROFILES.errors(path):
        raise error
    assert list(tmp_path.iterdir()) == []

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="bytes free"), PROFILES.errors(path):
        raise error
    assert list(tmp_path.iterdir()) == []
