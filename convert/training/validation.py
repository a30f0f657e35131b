"""Validates an adapter: merged with its base, written as a GGUF, and ranked with the recommender's own exact search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.lora.merge import merge_adapters
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.datasets.negatives import WeekPopularity
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.metrics import hit, ndcg
from genrec_edge.evaluation.prior_term import PriorTerm
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.prior.dataset_mixture import mixture_of
from genrec_edge.prior.mixture import MIXTURES
from genrec_edge.prior.model import PriorCounts, log_prob
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.training.job import TrainJob
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split

K = 10
_N_NEGATIVES = 99


def validate(base: Checkpoint, adapter: Path, dataset: Dataset, split: Split, job: TrainJob) -> dict[str, float]:
    """Return HR@10 and NDCG@10 on the validation items of some users, seen ones removed.

    All items are ranked; after training beyond what the week says, the item among 99 drawn by its week.
    The merged model is written into the folder `adapter`, and removed afterwards.
    """
    gguf_path = adapter / "look.gguf"
    peft_adapter = read_adapter(adapter, base)
    checkpoint = merge_adapters(base, [peft_adapter])
    with atomic_write(gguf_path) as file:
        write_gguf(checkpoint, file, model_metadata(checkpoint, [peft_adapter], "validate", "LicenseRef-none"))
    settings, is_beyond_week = job.recipe.validation, job.recipe.objective.offset == "week"
    cases = cases_of(
        split,
        target="validation",
        users=settings.users,
        candidates=_N_NEGATIVES if is_beyond_week else None,
        week_popularity=WeekPopularity(dataset) if is_beyond_week else None,
        seed=job.recipe.seed,
    )
    prior = None
    if job.recipe.objective.kind == "residual":
        prior = PriorTerm(job.recipe.objective.teacher, _log_prob(dataset, split, job), None)
    model_file = resolve_model(gguf_path, ModelStore())
    with LlmRanker(model_file, dataset, prior=prior, n_threads=job.n_threads) as ranker:
        rankings = zip(
            ranker.rank_many(cases.histories, K, candidates=cases.candidates), cases.targets.tolist(), strict=True
        )
        ranks = np.array([ranked.rank_of(target) for ranked, target in rankings])
    gguf_path.unlink()
    return {f"hr@{K}": float(hit(ranks, K).mean()), f"ndcg@{K}": float(ndcg(ranks, K).mean())}


def _log_prob(dataset: Dataset, split: Split, job: TrainJob) -> Callable[[NDArray[np.int32]], NDArray[np.float64]]:
    """Return the prior that the recipe's model stands on: from a history to (n_items,) log-probabilities."""
    weights = MIXTURES.get(job.recipe.objective.teacher)
    if weights is None:
        counts = PriorCounts.of(split.train, split.n_items)
        return lambda history: log_prob(counts, history, "sequence")
    mixture = mixture_of(dataset, split.train, weights)
    return lambda history: mixture.log_prob(history.tolist())
