"""Priors bound to their own and to other catalogs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import Dataset
from genrec_edge.datasets.histories import user_histories
from genrec_edge.prior import build
from genrec_edge.prior.bind import BoundPrior, bind
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.model import log_prob
from tests.support.priors import dataset_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def bound_to(prior: ItemPrior, path: Path) -> tuple[BoundPrior, dict[str, int]]:
    """Bind to a catalog with its rows backwards; return also the place of each id."""
    with Catalog.open(path) as opened:
        rows = np.array([row for row, _, _ in opened.titles()][::-1], np.int64)
        ids = [item.id for item in opened.items(rows.tolist())]
        return bind(prior, opened, rows), {item_id: i for i, item_id in enumerate(ids)}


def test_its_own_catalog_is_bound_by_id(
    prior_path: Path, make_catalog: Callable[[Sequence[tuple[str, str, int | None]]], Path]
) -> None:
    prior = ItemPrior.open(prior_path)
    own = [(i, title, year) for i, (title, year) in zip(prior.item_ids, prior.titles, strict=True)]
    bound, place_of = bound_to(prior, make_catalog(own))
    assert bound.n_dropped == 0
    places = [place_of[item_id] for item_id in prior.item_ids]
    assert bound.counts.events[places].tolist() == prior.counts.events.tolist()
    row_of = {place: row for row, place in bound.position_of.items()}
    history = np.array([0, 2])
    found = bound.log_prob(np.array([row_of[places[i]] for i in history]), "sequence")
    assert found[places] == pytest.approx(log_prob(prior.counts, history, "sequence"))


def test_another_catalog_is_bound_by_title_and_year(tmp_path: Path, make_catalog: Callable[..., Path]) -> None:
    titles = [("Heat", 1995), ("Heat", 1986), ("Matrix, The", 1999), ("Alien", 1979), ("Solo", None), ("Gone", 2000)]
    counted = dataset_of([("ann", i, float(i)) for i in range(6)], n_items=6)
    named = Dataset(**{**{f: getattr(counted, f) for f in counted.__slots__}, "titles": tuple(titles)})
    prior = build.build(tmp_path / "prior.db", named, user_histories(named, "file"), "file")
    other = [
        ("i3", "Something else", 1979),  # the id of Alien, and not Alien
        ("a", "heat", 1987),  # a year off
        ("b", "HEAT", 1995),
        ("c", "The Matrix", None),
        ("d", "Alien", 1979),
        ("e", "Solo", 2018),
        ("f", "Gone", 1990),  # too far off
        ("g", "Never met", 1950),
    ]
    bound, place_of = bound_to(prior, make_catalog(other))
    assert bound.n_dropped == 1
    assert {i for i, place in place_of.items() if bound.counts.events[place]} == {"a", "b", "c", "d", "e"}
    columns, values = bound.counts.transitions.row(place_of["b"])  # Heat (1995) was followed by the others in turn
    expected = {place_of[i]: 1 / d for i, d in (("a", 1), ("c", 2), ("d", 3), ("e", 4))}
    assert dict(zip(columns.tolist(), values.tolist(), strict=True)) == pytest.approx(expected)
    found = bound.log_prob(np.array([], np.int64), "popularity")
    assert np.isfinite(found).all()
    assert np.exp(found).sum() == pytest.approx(1)


def test_items_that_are_one_in_the_other_catalog_are_counted_together(
    tmp_path: Path, make_catalog: Callable[..., Path]
) -> None:
    counted = dataset_of([("ann", 0, 0.0), ("ann", 1, 1.0), ("bob", 0, 0.0), ("bob", 2, 1.0)], n_items=3)
    titles = (("Before", None), ("Hero", 2002), ("Hero", 2002))
    named = Dataset(**{**{f: getattr(counted, f) for f in counted.__slots__}, "titles": titles})
    prior = build.build(tmp_path / "prior.db", named, user_histories(named, "file"), "file")
    bound, place_of = bound_to(prior, make_catalog([("x", "Before", None), ("y", "Hero", 2002)]))
    assert bound.counts.events[[place_of["x"], place_of["y"]]].tolist() == [2, 2]
    columns, values = bound.counts.transitions.row(place_of["x"])
    assert (columns.tolist(), values.tolist()) == ([place_of["y"]], [2.0])
