"""How SQLite's errors become ours, for each kind of file that is a database."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from genrec_edge.errors import DiskFullError, GenRecError, LockedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def sqlite_errors(
    path: Path, damaged: Callable[[Path, str], GenRecError], unusable: type[GenRecError] = UsageError
) -> Iterator[None]:
    """Turn what SQLite raises in the block into one of our errors about `path`.

    Args:
        path: the file.
        damaged: makes the error about a file that is not as it should be, of the file and what SQLite says.
        unusable: the error about one that cannot be opened or written.

    Raises:
        LockedError: another process is writing to it.
        DiskFullError: no room.
        GenRecError: what the other two say.
    """
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as e:  # the second for damaged text
        code = getattr(e, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise LockedError(f"another process is writing to {path}", hint="try again when it is done") from e
        if code == sqlite3.SQLITE_FULL:
            raise DiskFullError(
                f"no room to write {path}: the disk is full", hint="free some space and repeat the command"
            ) from e
        if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            raise unusable(f"cannot open or write {path} ({e})", hint="check the permissions of its folder") from e
        raise damaged(path, str(e)) from e


def quoted(identifier: str) -> str:
    """Return a table or column name as SQL: in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'
