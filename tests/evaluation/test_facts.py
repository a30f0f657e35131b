"""Facts in common as a baseline and beside a model, in an evaluation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import CATALOG
from genrec_edge.datasets.item_facts import facts_of
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.conditioning import Conditioner
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.prior_term import PriorTerm
from genrec_edge.evaluation.systems import baseline_rankers, negatives_of
from tests.support.facts import Film, facts_in_common

if TYPE_CHECKING:
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.item_facts import ItemFacts
    from genrec_edge.datasets.split import Split
    from genrec_edge.hub.store import ModelFile

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


def test_they_are_added_to_a_model_and_its_prior(
    model_file: ModelFile, dataset: Dataset, expected: list[float]
) -> None:
    def scores(**options: object) -> dict[int, float]:
        with LlmRanker(model_file, dataset, n_threads=1, **options) as ranker:  # type: ignore[arg-type]
            ranking = ranker.rank(HISTORY, 24)
            names.append((ranker.name.removeprefix("tiny-llama"), ranker.about.get("facts_weight")))
        return dict(zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True))

    names: list[tuple[str, object]] = []
    nats = np.linspace(0, 3, 24)
    alone = scores()
    added = scores(facts_weight=4.0)
    both = scores(facts_weight=4.0, prior=PriorTerm("made", lambda _: nats, 2.0))
    rounding: dict[str, Any] = {"abs": 1e-3, "rel": 1e-5}
    assert added == pytest.approx({i: own + 4 * expected[i] for i, own in alone.items()}, **rounding)
    assert both == pytest.approx({i: own + 4 * expected[i] + 2 * nats[i] for i, own in alone.items()}, **rounding)
    assert names == [("", None), (" + 4 facts", 4.0), (" + 2 made + 4 facts", 4.0)]


def test_what_the_prompt_does_not_have_is_not_compared_either(
    model_file: ModelFile, dataset: Dataset, item_facts: ItemFacts
) -> None:
    found = []
    for weight in (0.0, 50.0):
        with LlmRanker(model_file, dataset, facts_weight=weight, n_threads=1) as ranker:
            conditioning = Conditioner(item_facts, "none", "specific").condition(0, HISTORY, 10)
            found.append(ranker.rank(HISTORY, 21, conditioning=conditioning))
    assert found[0].scores == pytest.approx(found[1].scores, abs=1e-3, rel=1e-5)


def test_weights_that_make_no_sense(model_file: ModelFile, dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="`facts_weight` must be finite and at least 0, got nan"):
        LlmRanker(model_file, dataset, facts_weight=math.nan)
