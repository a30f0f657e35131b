"""What SQLite raises, as one of our errors about the kind of file it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.schema import CATALOG
from genrec_edge.errors import CatalogError, DatasetError, DiskFullError, GenRecError, LockedError, UsageError
from genrec_edge.prior.db import PRIOR
from genrec_edge.profiles.db import PROFILES

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
