"""What SQLite raises, as one of our errors about the kind of file it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog import schema
from genrec_edge.errors import CatalogError, DatasetError, DiskFullError, GenRecError, LockedError, UsageError
from genrec_edge.prior import db as prior_db
from genrec_edge.profiles import db as profiles_db
from genrec_edge.storage.sqlite import sqlite_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

PATH = Path("a.db")
KINDS: dict[str, tuple[Callable[[], AbstractContextManager[None]], type[GenRecError], type[GenRecError]]] = {
    "catalog": (lambda: schema.sqlite_errors(PATH), CatalogError, CatalogError),
    "prior": (lambda: sqlite_errors(PATH, prior_db.damaged), UsageError, DatasetError),
    "profiles": (lambda: sqlite_errors(PATH, profiles_db.damaged), UsageError, DatasetError),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "code",
    ["SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT"],
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
    }
    with pytest.raises(GenRecError) as caught, block():
        raise error
    assert type(caught.value) is expected[code]
    assert "a.db" in str(caught.value)
    assert caught.value.hint
