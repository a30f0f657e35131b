"""What a model recommends, and how fast: the part of a verification that users would notice.

Knows the recommender and plain figures; nothing of logits.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.evaluation.metrics import hit, ndcg
from genrec_edge.recommender import Recommender

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from genrec_edge.convert.verification.samples import HeldOutCase
    from genrec_edge.records import Interaction, Result

K = 10
"""Items asked for; the "10" of HR@10."""


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often held-out items were among the `K` recommended; one that the history holds already never is.

    `hit_rate` is the share of them, `ndcg` the mean of 1 / log2(rank + 1), where not found counts 0; both 0..1.
    """

    n: int
    hit_rate: float
    ndcg: float


@dataclass(frozen=True, slots=True)
class ModelRecommendations:
    """A model's answers to a list of histories.

    Attributes:
        items: the ids recommended for each history, best first.
        exact_share: the share of answers that are proven to be the best, 0..1.
        request_s: the median time of a request.
        prompt_tokens_per_s: the median rate at which prompts were evaluated.
        hits: on the test split, where there is one.
    """

    items: tuple[tuple[str, ...], ...]
    exact_share: float
    request_s: float
    prompt_tokens_per_s: float
    hits: HitRate | None

    @property
    def n_short(self) -> int:
        """Histories answered with fewer than `K` items."""
        return sum(len(ids) < K for ids in self.items)


def collect_recommendations(
    model_path: Path,
    catalog_path: Path,
    histories: Sequence[Sequence[Interaction]],
    cases: Sequence[HeldOutCase],
    *,
    n_threads: int,
    on_answer: Callable[[int, int], object] = lambda _done, _total: None,
) -> ModelRecommendations:
    """Ask a model for `K` items after each history and each case.

    Args:
        model_path: the GGUF.
        catalog_path: what it chooses from.
        histories: at least one.
        cases: the test split, or nothing.
        n_threads: of the model.
        on_answer: told how many requests of how many are done.
    """
    total = len(histories) + len(cases)
    with Recommender.open(model_path, catalog_path, n_threads=n_threads) as recommender:
        results = []
        ranks: list[float] = []
        for history in histories:
            results.append(recommender.recommend(history, k=K))
            on_answer(len(results), total)
        for done, case in enumerate(cases, start=len(results) + 1):
            ids = _ids(recommender.recommend(case.history, k=K))
            ranks.append(ids.index(case.target_id) + 1 if case.target_id in ids else math.inf)
            on_answer(done, total)
    timings = [result.timings for result in results]
    return ModelRecommendations(
        items=tuple(map(_ids, results)),
        exact_share=sum(result.exact for result in results) / len(results),
        request_s=statistics.median(t.prompt_s + t.decode_s for t in timings),
        prompt_tokens_per_s=statistics.median((t.prompt_tokens - t.reused_tokens) / t.prompt_s for t in timings),
        hits=hit_rate(ranks) if ranks else None,
    )


def hit_rate(ranks: Sequence[float]) -> HitRate:
    """Return the metrics of held-out items at these ranks (from 1; inf: not found); at least one."""
    array = np.array(ranks, np.float64)
    return HitRate(len(ranks), float(hit(array, K).mean()), float(ndcg(array, K).mean()))


def overlap(reference: ModelRecommendations, other: ModelRecommendations) -> float:
    """Return the mean share of the reference's items that the other model recommends too, 0..1."""
    shares = [len(set(a) & set(b)) / max(1, len(a)) for a, b in zip(reference.items, other.items, strict=True)]
    return sum(shares) / len(shares)


def _ids(result: Result) -> tuple[str, ...]:
    return tuple(recommendation.item.id for recommendation in result.items)
