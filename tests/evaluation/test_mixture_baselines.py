"""Liked sets and the mixture as baselines, and as the prior of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.evaluation.systems import baseline_rankers, model_variants
from genrec_edge.prior.dataset_mixture import mixture_of, open_mixture

if TYPE_CHECKING:
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split

HISTORY = np.array([1, 4, 7], np.int32)


@pytest.mark.parametrize("transfer", [False, True])
def test_they_see_the_training_part_or_nothing(dataset: Dataset, split: Split, *, transfer: bool) -> None:
    expected = open_mixture(dataset) if transfer else mixture_of(dataset, split.train)
    log_prob = expected.log_prob(HISTORY.tolist())
    (system,) = baseline_rankers(["mixture"], dataset, split, transfer=transfer)
    with system as ranker:
        (ranking,) = ranker.rank_many([HISTORY], dataset.n_items)
    assert ranking.scores.tolist() == pytest.approx([log_prob[item] for item in ranking.items])
    assert (expected.counts is None) is transfer
    ((_, term),) = model_variants([], "mixture", [3.0], dataset, split, transfer=transfer)
    assert term is not None
    assert (term.name, term.weight) == ("mixture", 3.0)
    assert term.log_prob(HISTORY).tolist() == pytest.approx(log_prob.tolist())


def test_liked_sets_are_those_of_the_training_part(dataset: Dataset, split: Split) -> None:
    (system,) = baseline_rankers(["liked"], dataset, split)
    with system as ranker:
        (ranking,) = ranker.rank_many([HISTORY], dataset.n_items)
    liked = mixture_of(dataset, split.train).liked
    assert liked is not None
    assert liked.groups[0].n_likes.sum() == sum(len(set(history.tolist())) for history in split.train)
    assert ranking.scores.tolist() == pytest.approx([liked.scores(HISTORY.tolist())[i] for i in ranking.items])
