"""Facts of the film catalog beside the items of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES

if TYPE_CHECKING:
    from pathlib import Path


def test_most_events_are_about_films_with_facts_and_the_others_keep_their_own(ml_100k: Path) -> None:
    dataset = load(ml_100k)
    with Catalog.open(ml_100k / "catalog.db") as catalog:
        items = {item.row: item for item in catalog.items(dataset.rows.tolist())}
        genres = catalog.list_values(list(items), ["genres"])
    known = np.array([items[row].columns["director"] is not None for row in dataset.rows.tolist()])
    assert known[dataset.items].mean() == pytest.approx(0.926, abs=0.001)
    assert len(genres) == 1680  # two are of an unknown genre
    spelled = {genre for values in genres.values() for genre in values}
    assert spelled <= set(VAGUE_PHRASES)  # the genres of the films
