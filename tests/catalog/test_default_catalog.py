"""The catalog that comes with the package is built on first use, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from genrec_edge.catalog.default_catalog import default_catalog_path

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_default_catalog_is_built_once(own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_path = tmp_path / "films.jsonl"
    small_path.write_text('{"id": "1", "title": "Heat", "year": 1995}\n')
    monkeypatch.setattr("genrec_edge.catalog.default_catalog._FILMS_PATH", small_path)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: default_catalog_path(), range(8)))
    path = found.pop()
    assert not found
    assert path.is_relative_to(own_home)
    changed = path.stat().st_mtime_ns
    assert default_catalog_path() == path
    assert path.stat().st_mtime_ns == changed
    small_path.write_text('{"id": "1", "title": "Heat", "year": 1996}\n')
    assert default_catalog_path() != path
