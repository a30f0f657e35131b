"""Collects what a model recommends, and how fast.

Knows the recommender, not logits.
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
"""Recommended items per request; the "10" of HR@10."""


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often held-out items are among the `K` recommended ones.

    An item that is also in the history never is. `hit_rate` is the share of hits, `ndcg` the mean of 1 / log2(rank + 1)
    with 0 for a miss; both 0..1, over `n` items.
    """

    n: int
    hit_rate: float
    ndcg: float


@dataclass(frozen=True, slots=True)
class ModelRecommendations:
    """A model's recommendations for a list of histories.

    Attributes:
        items: the recommended ids for each history, best first.
        exact_share: the share of exact results, 0..1.
        request_s: the median time of a request.
        prompt_tokens_per_s: the median speed of prompt evaluation.
        hits: the hit rate on the test split, if there is one.
    """

    items: tuple[tuple[str, ...], ...]
    exact_share: float
    request_s: float
    prompt_tokens_per_s: float
    hits: HitRate | None

    @property
    def n_short(self) -> int:
        """The number of histories with fewer than `K` recommendations."""
        return sum(len(ids) < K for ids in self.items)


def collect_recommendations(
    model_path: Path,
    catalog_path: Path,
    histories: Sequence[Sequence[Interaction]],
    cases: Sequence[HeldOutCase],
    *,
    n_threads: int,
    on_request: Callable[[int, int], object] = lambda _done, _total: None,
) -> ModelRecommendations:
    """Recommend `K` items for each history and each case, by the model alone.

    Args:
        model_path: the GGUF.
        catalog_path: the catalog to recommend from.
        histories: at least one.
        cases: the test split; may be empty.
        n_threads: threads of the model.
        on_request: called with the number of finished requests and of all.
    """
    total = len(histories) + len(cases)
    with Recommender.open(model_path, catalog_path, n_threads=n_threads, prior_kind="none") as recommender:
        results = []
        ranks: list[float] = []
        for history in histories:
            results.append(recommender.recommend(history, k=K))
            on_request(len(results), total)
        for done, case in enumerate(cases, start=len(results) + 1):
            ids = _ids(recommender.recommend(case.history, k=K))
            ranks.append(ids.index(case.target_id) + 1 if case.target_id in ids else math.inf)
            on_request(done, total)
    timings = [result.timings for result in results]
    return ModelRecommendations(
        items=tuple(map(_ids, results)),
        exact_share=sum(result.exact for result in results) / len(results),
        request_s=statistics.median(t.prompt_s + t.decode_s for t in timings),
        prompt_tokens_per_s=statistics.median((t.prompt_tokens - t.reused_tokens) / t.prompt_s for t in timings),
        hits=hit_rate(ranks) if ranks else None,
    )


def hit_rate(ranks: Sequence[float]) -> HitRate:
    """Return the hit rate for at least one held-out item at these ranks (from 1; inf: not recommended)."""
    array = np.array(ranks, np.float64)
    return HitRate(len(ranks), float(hit(array, K).mean()), float(ndcg(array, K).mean()))


def overlap(reference: ModelRecommendations, other: ModelRecommendations) -> float:
    """Return the mean share of the reference's items that the other model recommends too, 0..1."""
    pairs = zip(reference.items, other.items, strict=True)
    shares = [len(set(expected) & set(found)) / max(1, len(expected)) for expected, found in pairs]
    return sum(shares) / len(shares)


def _ids(result: Result) -> tuple[str, ...]:
    return tuple(recommendation.item.id for recommendation in result.items)
