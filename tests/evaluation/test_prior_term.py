"""The item prior as a part of the score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.evaluation.conditioning import Conditioner
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.prior_term import PriorTerm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.item_facts import ItemFacts
    from genrec_edge.hub.store import ModelFile


def test_a_prior_does_not_know_the_history_of_nobody(
    model_file: ModelFile, dataset: Dataset, item_facts: ItemFacts
) -> None:
    """What the prompt contains decides: else the counted prior would give a search the history behind its back."""
    given: list[list[int]] = []

    def log_prob(history: NDArray[np.int32]) -> NDArray[np.float64]:
        given.append(history.tolist())
        return np.zeros(24)

    history = np.array([1, 4, 7], np.int32)
    with LlmRanker(model_file, dataset, prior=PriorTerm("made", log_prob, 1.0), n_threads=1) as ranker:
        for preference in ("none", "words", "history"):
            conditioning = Conditioner(item_facts, preference, "specific").condition(0, history, 10)
            assert not {1, 4, 7} & set(ranker.rank(history, 24, conditioning=conditioning).items.tolist())
    assert given == [[], [1, 4, 7], [1, 4, 7]]
