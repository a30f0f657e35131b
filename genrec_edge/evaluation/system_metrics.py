"""Metrics of one system: means over users with their intervals, by segment of users, and its cost.

Knows answers and numbers, nothing of systems. There is one target per user, so the hit rate is also the recall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.evaluation import metrics
from genrec_edge.evaluation.significance import Estimate, estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.evaluation.answer_log import LoggedAnswer

CUTOFFS = (1, 3, 5, 10, 20, 50, 100)
CUTOFF = 10
"""Of segments, tests and the metrics that are not means over users."""
_RARE_EVENTS = 5
_LONG_HISTORY = 50
LONG = f"history > {_LONG_HISTORY} events"
RARE, COLD = f"target with < {_RARE_EVENTS} events", "target without events"
"""Segments by the training events of the target."""
METRICS: Mapping[str, Callable[[NDArray[np.float64], int], NDArray[np.float64]]] = {
    "hr": metrics.hit,
    "ndcg": metrics.ndcg,
    "mrr": metrics.reciprocal_rank,
}
FULL_RANKING_METRICS = ("hr@10", "ndcg@10")
SAMPLED_METRICS = ("hr@1", "ndcg@3", "hr@3", "hr@5", "hr@10", "mrr@3", "mrr@5", "mrr@10")
"""Metrics of segments, and the first two of tests, where all items are ranked, and with sampled candidates.

Source of the second: InstructRec and LLM-TRSR, arXiv 2305.07001 and 2403.13325.
"""
MIN_SAMPLED_K = 3
"""The least `k` with sampled candidates: the cut-off of the metrics that are tested."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedUsers:
    """The users of an evaluation, in the order of all arrays, and what their metrics depend on.

    Attributes:
        users: (n,) int32, indexes of users of the data set.
        targets: (n,) int32, item indexes.
        history_lengths: (n,) items of each history.
        event_counts: (n_items,) training events of each item.
        k: number of items in a ranking; metrics with a larger cut-off are left out.
        depth: number of items of a complete ranking at `CUTOFF`; less where `k` or the candidates are fewer.
        segment_metrics: names of the metrics of segments.
    """

    users: NDArray[np.int32]
    targets: NDArray[np.int32]
    history_lengths: NDArray[np.int64]
    event_counts: NDArray[np.int64]
    k: int
    depth: int
    segment_metrics: tuple[str, ...] = FULL_RANKING_METRICS

    def segments(self) -> dict[str, NDArray[np.bool_]]:
        """Return masks of users, (n,): by length of the history, with rare and with cold targets; may be empty."""
        events = self.event_counts[self.targets]
        return {
            **metrics.history_segments(self.history_lengths),
            LONG: self.history_lengths > _LONG_HISTORY,
            RARE: events < _RARE_EVENTS,
            COLD: events == 0,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Metrics of a system over some of the users."""

    n_users: int
    means: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class SystemMetrics:
    """Metrics of one system.

    Attributes:
        name: of the system.
        about: everything its answers depend on, ready for JSON.
        is_baseline: whether models are compared with it.
        ranks: (n,) of the targets, inf where not found.
        means: "hr@1" and so on, over all users.
        segments: by name.
        exact: share of rankings that are proven to be the best.
        valid: share of the first `CUTOFF` places, or of the generated texts, that hold an item of the catalog.
        distinct: share of these that are neither of the history nor repeated.
        coverage: share of the catalog that is among the first `CUTOFF` for at least one user.
        items_shown: number of different items among the first `CUTOFF` of all users.
        overlap: share of the first `CUTOFF` that two users have in common, the mean over all pairs; nan for one user.
        popularity_rank: mean over the first `CUTOFF`; 1 is the item with the most training events.
        cost: tokens, time and memory.
    """

    name: str
    about: Mapping[str, Any]
    is_baseline: bool
    ranks: NDArray[np.float64]
    means: Mapping[str, Estimate]
    segments: Mapping[str, Segment]
    exact: float
    valid: float
    distinct: float
    coverage: float
    items_shown: int
    overlap: float
    popularity_rank: float
    cost: Mapping[str, float | None]

    def values(self, metric: str) -> NDArray[np.float64]:
        """Return one value per user, (n,), of a metric such as "ndcg@10"."""
        return METRICS[metric.partition("@")[0]](self.ranks, cutoff_of(metric))

    def to_json(self) -> dict[str, Any]:
        """Return the metrics, ready for JSON; means over no users are null."""
        return {
            "name": self.name,
            "baseline": self.is_baseline,
            "about": dict(self.about),
            "metrics": {name: mean.to_json() for name, mean in self.means.items()},
            "segments": {
                name: {"users": part.n_users, **{metric: mean.to_json() for metric, mean in part.means.items()}}
                for name, part in self.segments.items()
            },
            "answers": {
                "exact": self.exact,
                "valid": self.valid,
                "distinct": self.distinct,
                f"coverage@{CUTOFF}": self.coverage,
                f"items@{CUTOFF}": self.items_shown,
                f"overlap@{CUTOFF}": None if math.isnan(self.overlap) else self.overlap,
                f"popularity_rank@{CUTOFF}": None if math.isnan(self.popularity_rank) else self.popularity_rank,
            },
            "cost": dict(self.cost),
        }


def cutoff_of(metric: str) -> int:
    """Return the cut-off of a metric.

    >>> cutoff_of("ndcg@10")
    10
    """
    return int(metric.partition("@")[2])


def system_metrics_of(
    name: str,
    about: Mapping[str, Any],
    answers: Sequence[LoggedAnswer],
    users: EvaluatedUsers,
    *,
    is_baseline: bool,
    seed: int,
) -> SystemMetrics:
    """Return the metrics of a system; `answers` are in the order of `users.users`."""
    ranks = np.array([answer.rank for answer in answers])
    values = {f"{name}@{k}": metric(ranks, k) for name, metric in METRICS.items() for k in CUTOFFS if k <= users.k}
    rankings = _padded([answer.items for answer in answers])
    n_texts = sum(answer.texts for answer in answers)
    n_valid = n_texts - sum(answer.invalid for answer in answers)
    n_repeated = sum(answer.repeated for answer in answers)
    return SystemMetrics(
        name=name,
        about=about,
        is_baseline=is_baseline,
        ranks=ranks,
        means={metric: estimate(of_users, seed=seed) for metric, of_users in values.items()},
        segments={
            segment: Segment(int(mask.sum()), {m: estimate(values[m][mask], seed=seed) for m in users.segment_metrics})
            for segment, mask in users.segments().items()
        },
        exact=float(np.mean([answer.exact for answer in answers])),
        valid=n_valid / n_texts if n_texts else metrics.valid_rate(rankings, users.depth),
        distinct=1 - n_repeated / max(n_valid, 1) if n_texts else metrics.distinct_rate(rankings, users.depth),
        coverage=metrics.coverage(rankings, CUTOFF, len(users.event_counts)),
        items_shown=metrics.items_shown(rankings, CUTOFF),
        overlap=metrics.mean_overlap(rankings, CUTOFF),
        popularity_rank=metrics.mean_popularity_rank(rankings, CUTOFF, users.event_counts),
        cost=_cost(answers),
    )


def _padded(lists: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """Return lists of items as the rows of one array, padded with -1 to a width of at least `CUTOFF`."""
    padded = np.full((len(lists), max(CUTOFF, *map(len, lists))), -1, np.int32)
    for row, items in zip(padded, lists, strict=True):
        row[: len(items)] = items
    return padded


def _cost(answers: Sequence[LoggedAnswer]) -> dict[str, float | None]:
    seconds = np.array([answer.seconds for answer in answers])
    wall_s = sum(answer.wall_s for answer in answers)
    peaks = [answer.peak_mib for answer in answers if answer.peak_mib is not None]
    return {
        "tokens_per_user": float(np.mean([answer.tokens for answer in answers])),
        "latency_p50_s": float(np.quantile(seconds, 0.5)),
        "latency_p95_s": float(np.quantile(seconds, 0.95)),
        "users_per_s": len(answers) / wall_s if wall_s else None,
        "peak_memory_mib": max(peaks, default=None),
    }
