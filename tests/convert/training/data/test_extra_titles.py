"""Extra titles: titles of a catalog that are not in a data set."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.writer import build
from genrec_edge.convert.training.data.extra_titles import (
    ExtraTitles,
    load_extra_titles,
    prior_over_trie,
    sample_subsets,
)
from genrec_edge.datasets.folder import load
from genrec_edge.errors import CatalogError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow


# The data set has Alien, Heat and Up, all of 1980.
OTHERS = "title,year\nAlien,1979\nALIEN!,1981\nAlien,1982\nAlien,\nHeat,1995\nZulu,1964\nZulu,2013\n"


def catalog_of(path: Path, text: str) -> Path:
    path.with_suffix(".csv").write_text(text, encoding="utf-8")
    build(path.with_suffix(".csv"), path)
    return path


@pytest.fixture
def catalog_path(tmp_path: Path) -> Path:
    return catalog_of(tmp_path / "others.db", OTHERS)


def test_titles_of_the_data_set_are_not_extra_titles(catalog_path: Path, cycle_data: Path) -> None:
    found = load_extra_titles(str(catalog_path), load(cycle_data))
    assert sorted(found.titles) == [("Alien", 1982), ("Heat", 1995), ("Zulu", 1964), ("Zulu", 2013)]
    assert found.revision


def test_the_films_of_the_package_are_found_by_name(cycle_data: Path, own_home: Path) -> None:
    found = load_extra_titles("films", load(cycle_data))
    assert len(found.titles) > 17_000
    assert own_home.exists()


def test_a_missing_catalog_and_one_without_extra_titles_are_refused(tmp_path: Path, cycle_data: Path) -> None:
    with pytest.raises((CatalogError, UsageError), match="nowhere"):
        load_extra_titles(str(tmp_path / "nowhere.db"), load(cycle_data))
    path = catalog_of(tmp_path / "same.db", "title,year\nUp,1980\n")
    with pytest.raises(UsageError, match=r"all titles of .* are in cycle, too"):
        load_extra_titles(str(path), load(cycle_data))


def test_larger_catalogs_hold_the_smaller_ones() -> None:
    extra = ExtraTitles(tuple((str(i), None) for i in range(160)), "r")
    parts = sample_subsets(extra, 3)
    assert [len(part) for part in parts] == [0, 10, 40, 160]
    assert all(set(small) < set(large) for small, large in itertools.pairwise(parts))
    assert all(np.array_equal(a, b) for a, b in zip(parts, sample_subsets(extra, 3), strict=True))
    assert not np.array_equal(parts[1], sample_subsets(extra, 4)[1])


def test_extra_titles_count_as_half_an_event_each() -> None:
    known = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32))

    def prior(user: int, history: NDArray[np.integer], start: int) -> NDArray[np.float32]:
        assert (user, history.tolist(), start) == (5, [2, 0], 1)
        return known[:1]

    history = np.array([2, 0])
    rows = np.array([3, 1, 4, 0, 2])  # the trie's order; 3 and 4 are extra titles
    found = np.exp(prior_over_trie(prior, rows, 3, 10)(5, history, 1))
    rest = 1 / (10 + 2.5)
    shared = [rest / 2, 0.2 * (1 - rest), rest / 2, 0.7 * (1 - rest), 0.1 * (1 - rest)]
    np.testing.assert_allclose(found, [shared], 1e-5)
    # A trie without one of the items: what is left is a distribution again.
    alone = np.exp(prior_over_trie(prior, np.array([2, 0]), 3, 10)(5, history, 1))
    np.testing.assert_allclose(alone, [[1 / 8, 7 / 8]], 1e-5)
