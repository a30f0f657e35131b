"""A data set's events among the films that come with the package: for models and counts that never saw the data set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.films_by_title import FilmsByTitle
from genrec_edge.datasets.folder import read_items
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.records import Item


def among_shipped_films(dataset: Dataset) -> tuple[Dataset, str]:
    """Return a data set whose items are the films that come with the package, and a line on what was found.

    An item is the film with its title and year, as `films_by_title` finds it. Events of other items are left
    out.

    Raises:
        UsageError: none of the items is there.
    """
    path = default_catalog_path()
    films, revision = read_items(path)
    place_of = _places(dataset, films)
    found = place_of[dataset.items]
    n_items, n_found = len(np.unique(dataset.items)), len(np.unique(dataset.items[found >= 0]))
    if not n_found:
        raise UsageError(
            f"no item of {dataset.name} is among the films that come with the package",
            hint="`transfer` is for data sets of films with title and year",
        )
    note = (
        f"{n_found:,} of {n_items:,} films, {int((found >= 0).sum()):,} of {dataset.n_events:,} events are found among "
        f"the {len(films):,} films that come with the package"
    )
    with Catalog.open(path) as catalog:
        card = {**dataset.card, "catalog": {**dataset.card["catalog"], "revision": revision}, "transfer": catalog.name}
    kept = dataset.filtered(found >= 0, "found among the films that come with the package")
    return (
        replace(
            kept,
            card=card,
            item_ids=tuple(film.id for film in films),
            rows=np.array([film.row for film in films], np.int64),
            titles=tuple((film.title, film.year) for film in films),
            items=found[found >= 0].astype(np.int32),
            other_catalog=path,
        ),
        note,
    )


def _places(dataset: Dataset, films: Sequence[Item]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the place among films of each item of a data set, (n_items,), -1 where there is none."""
    by_title = FilmsByTitle(films)
    place_of_row = {film.row: place for place, film in enumerate(films)}
    places = np.full(dataset.n_items, -1, np.int64)
    for i, (title, year) in enumerate(dataset.titles):
        match = by_title.find(title, year)
        if match is not None:
            places[i] = place_of_row[match.row]
    return places
