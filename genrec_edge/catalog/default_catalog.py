"""The catalog of films that comes with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.catalog import schema
from genrec_edge.catalog.writer import build
from genrec_edge.errors import CatalogError
from genrec_edge.storage import paths
from genrec_edge.storage.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable

_FILMS_PATH = Path(__file__).parents[1] / "data" / "films.jsonl.xz"
_LICENCE = "CC0-1.0 AND MIT AND CC-BY-4.0"
"""Of the facts of the films; `genrec_edge/data/LICENSE-films.txt` says what is whose."""
_LOCK_WAIT_S = 120.0


def shipped_films_path() -> Path:
    """Return the file with the films that come with the package, a table that a catalog can be built of."""
    return _FILMS_PATH


def default_catalog_path(progress: Callable[[float], object] | None = None) -> Path:
    """Return the path of the catalog that comes with the package, built into the user's data folder on first use.

    `progress` is called with the share done, 0..1, while the catalog is built. The file's name has a hash of the films
    and the format, so that another version of the package makes its own.

    Raises:
        CatalogError: the folder cannot be written.
        LockedError: another process has been building it for two minutes.
    """
    path = _path()
    if not path.is_file():
        _build(path, progress, replaces=False)
    return path


def reset_default_catalog(progress: Callable[[float], object] | None = None) -> Path:
    """Make the catalog that comes with the package anew, and return its path; what was added to it is gone.

    Raises: as `default_catalog_path`.
    """
    path = _path()
    _build(path, progress, replaces=True)
    return path


def _path() -> Path:
    digest = hashlib.sha256(_FILMS_PATH.read_bytes()).hexdigest()[:12]
    return paths.catalogs_path() / f"films-{digest}-v{schema.CATALOG.version}.db"


def _build(path: Path, progress: Callable[[float], object] | None, *, replaces: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock"), path, wait_s=_LOCK_WAIT_S):
            if replaces or not path.is_file():
                build(_FILMS_PATH, path, name="films", licence=_LICENCE, force=replaces, progress=progress)
    except OSError as e:
        message = f"cannot write the default catalog to {path.parent} ({e.strerror})"
        raise CatalogError(message, hint="set GENREC_EDGE_HOME to a folder that can be written") from e
