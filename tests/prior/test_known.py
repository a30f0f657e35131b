"""How well known items are, read from a column that may hold anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog import writer
from genrec_edge.catalog.reader import Catalog
from genrec_edge.prior.known import known_shares

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def shares_of(values: Sequence[Any], folder: Path, name: str = "known") -> list[float] | None:
    """Return what is found in a catalog of items with these values, whose rows are asked for from the last on."""
    source = folder / "items.jsonl"
    items = [{"id": f"f{i}", "title": f"Title {i}", name: value} for i, value in enumerate(values)]
    source.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    writer.build(source, folder / "items.db", force=True)
    with Catalog.open(folder / "items.db") as catalog:
        found = known_shares(catalog, np.arange(len(values), 0, -1))
    return None if found is None else found.tolist()[::-1]


def test_numbers_from_0_to_100_are_shares_and_what_is_beyond_counts_as_the_end(tmp_path: Path) -> None:
    assert shares_of([50, 0, 100, None, 12.5, 150, -3], tmp_path) == [0.5, 0, 1, 0, 0.125, 1, 0]


@pytest.mark.parametrize("name", ["Known", "KNOWN"])
def test_the_name_of_the_column_may_be_in_capitals(name: str, tmp_path: Path) -> None:
    assert shares_of([50, None, 100], tmp_path, name) == [0.5, 0, 1]


@pytest.mark.parametrize(
    "values", [["well", "little", None], [1, "little", 3], [[1, 2], [3], None], [None, None, None]]
)
def test_what_is_no_column_of_numbers_says_nothing(values: list[Any], tmp_path: Path) -> None:
    assert shares_of(values, tmp_path) is None


def test_another_column_says_nothing(tmp_path: Path) -> None:
    assert shares_of([50, 0, 100], tmp_path, "popularity") is None


def test_rows_are_those_that_are_asked_for(tmp_path: Path) -> None:
    shares_of([10, 20, 30, 40], tmp_path)
    with Catalog.open(tmp_path / "items.db") as catalog:
        found = known_shares(catalog, np.array([4, 2]))
    assert found is not None
    assert found.tolist() == [0.4, 0.2]
