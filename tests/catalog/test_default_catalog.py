"""The catalog that comes with the package is built on first use, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from genrec_edge.catalog import edit
from genrec_edge.catalog.default_catalog import default_catalog_path, reset_default_catalog
from genrec_edge.catalog.reader import Catalog

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


def test_a_reset_undoes_changes_and_damage(own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_path = tmp_path / "films.jsonl"
    small_path.write_text('{"id": "1", "title": "Heat", "year": 1995}\n')
    monkeypatch.setattr("genrec_edge.catalog.default_catalog._FILMS_PATH", small_path)
    path = default_catalog_path()
    edit.add_item(path, "Another")
    assert default_catalog_path() == reset_default_catalog() == path
    with Catalog.open(path) as catalog:
        assert [title for _, title, _ in catalog.titles()] == ["Heat"]
    path.write_bytes(b"no catalog")
    path.with_name(f"{path.name}-journal").write_bytes(b"of the catalog before")
    reset_default_catalog()
    with Catalog.open(path) as catalog:
        assert catalog.n_items == 1
    assert not path.with_name(f"{path.name}-journal").exists()
