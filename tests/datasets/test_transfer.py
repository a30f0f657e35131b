"""A data set's events among the films of the package."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets import transfer
from genrec_edge.datasets.transfer import among_shipped_films
from genrec_edge.errors import UsageError
from tests.support.event_tables import dataset_of

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = [(0, 0, 1.0), (0, 1, 2.0), (0, 2, 3.0), (1, 3, 4.0), (1, 0, 5.0), (1, 4, 6.0)]
TITLES = (("Matrix, The", 1999), ("Pulp Fiction", 1995), ("Heat", None), ("No Such Film At All", 1990), ("Alien", 1979))


def test_films_are_found_by_title_and_year(films_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "default_catalog_path", lambda: films_path)
    dataset = replace(dataset_of(EVENTS, 2, 5), titles=TITLES, card={"catalog": {"revision": "own"}})
    found, note = among_shipped_films(dataset)
    with Catalog.open(films_path) as catalog:
        assert found.n_items == catalog.n_items == len(found.rows)
    titled = [found.titles[item] for item in found.items.tolist()]
    assert titled == [("The Matrix", 1999), ("Pulp Fiction", 1994), ("The Matrix", 1999), ("Alien", 1979)]
    assert found.users.tolist() == [0, 0, 1, 1]
    assert note == "3 of 5 films, 4 of 6 events are found among the 28,469 films that come with the package"
    assert found.catalog_path == films_path
    assert found.card["catalog"]["revision"] != "own"
    assert found.filters == ("found among the films that come with the package",)
    assert dataset.catalog_path != films_path


def test_data_of_no_films_are_refused(films_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "default_catalog_path", lambda: films_path)
    with pytest.raises(UsageError, match="no item of made is among the films"):
        among_shipped_films(replace(dataset_of(EVENTS, 2, 5), card={"catalog": {}}))
