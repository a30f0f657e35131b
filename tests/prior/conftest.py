"""A prior on disk, and catalogs to bind priors to."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog import writer
from tests.support.priors import EVENTS, built

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.fixture
def prior_path(tmp_path: Path) -> Path:
    built(tmp_path / "prior.db", EVENTS)
    return tmp_path / "prior.db"


@pytest.fixture
def make_catalog(tmp_path: Path) -> Callable[[Sequence[tuple[str, str, int | None]]], Path]:
    def make(items: Sequence[tuple[str, str, int | None]]) -> Path:
        source = tmp_path / "items.csv"
        with source.open("w", newline="") as file:
            csv.writer(file).writerows([("id", "title", "year"), *items])
        writer.build(source, tmp_path / "items.db", force=True)
        return tmp_path / "items.db"

    return make
