"""Facts in common as a baseline of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import CATALOG
from genrec_edge.datasets.item_facts import facts_of
from genrec_edge.evaluation.systems import baseline_rankers, negatives_of
from tests.support.facts import Film, facts_in_common

if TYPE_CHECKING:
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split

HISTORY = np.array([1, 4, 7, 4], np.int32)
ONCE = [1, 7, 4]


@pytest.fixture
def expected(dataset: Dataset) -> list[float]:
    """What loops over the items of the data set say of a history."""
    with Catalog.open(dataset.path / CATALOG) as catalog:
        items = catalog.items(dataset.rows.tolist())
    films = []
    for item, facts in zip(items, facts_of(dataset), strict=True):
        columns: dict[str, list[str]] = {}
        for fact in facts:
            if fact.column != "decade":
                columns.setdefault(fact.column, []).append(fact.value)
        films.append(Film(item.title, item.year, columns))
    return facts_in_common(films, ONCE)


def test_the_baseline_reads_the_catalog_of_the_data_set(dataset: Dataset, split: Split, expected: list[float]) -> None:
    (system,) = baseline_rankers(["facts"], dataset, split)
    with system as ranker:
        (ranking,) = ranker.rank_many([HISTORY], 24)
    assert system.name == "facts"
    assert len(ranking.items) == 21
    assert ranking.scores.tolist() == pytest.approx([expected[item] for item in ranking.items])
    negatives = negatives_of("facts", dataset, split)
    assert isinstance(negatives, tuple)
    name, scores_of = negatives
    assert (name, scores_of(HISTORY).tolist()) == ("facts", pytest.approx(expected))
