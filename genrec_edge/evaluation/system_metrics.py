"""Figures of the answers of one system: means over users with their intervals, segments, and what it took.

Knows answers and numbers, nothing of how they came about. There is one target per user, so the hit rate is also the
recall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.evaluation import metrics
from genrec_edge.evaluation.significance import Estimate, estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.evaluation.answer_log import LoggedAnswer

KS = (1, 3, 5, 10, 20, 50, 100)
AT = 10
"""Where segments, tests and what is not a mean over users are looked at."""
_RARE_EVENTS = 5
_LONG = 50
LONG = f"history > {_LONG} events"
RARE, COLD = f"target with < {_RARE_EVENTS} events", "target without events"
"""Segments by the training events of the target."""
METRICS: Mapping[str, Callable[[NDArray[np.float64], int], NDArray[np.float64]]] = {
    "hr": metrics.hit,
    "ndcg": metrics.ndcg,
    "mrr": metrics.reciprocal_rank,
}
FULL = ("hr@10", "ndcg@10")
SAMPLED = ("hr@1", "ndcg@3", "hr@3", "hr@5", "hr@10", "mrr@3", "mrr@5", "mrr@10")
"""What is tested, and looked at in segments, where all items are ranked, and where the target is among a few.

Source of the second: InstructRec and LLM-TRSR, arXiv 2305.07001 and 2403.13325.
"""
LEAST = 3
"""Items that have to be asked for among a few: the first two metrics look no further."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedUsers:
    """The users of an evaluation, in the order of all arrays, and what the figures need to know of them.

    Attributes:
        users: (n,) int32, indexes of users of the data set.
        targets: (n,) int32, item indexes.
        lengths: (n,) how many items each history has.
        counts: (n_items,) training events of each item.
        k: how many items were asked for; figures of longer lists are left out.
        depth: how many items a complete answer has at `AT`; less than that if fewer were asked for, or were there.
        tested: the metrics of segments.
    """

    users: NDArray[np.int32]
    targets: NDArray[np.int32]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]
    k: int
    depth: int
    tested: tuple[str, ...] = FULL

    def segments(self) -> dict[str, NDArray[np.bool_]]:
        """Return masks of users, (n,): by the length of the history, and with rare and cold targets (maybe none)."""
        events = self.counts[self.targets]
        return {
            **metrics.history_segments(self.lengths),
            LONG: self.lengths > _LONG,
            RARE: events < _RARE_EVENTS,
            COLD: events == 0,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """What a system reached with some of the users."""

    n_users: int
    means: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class SystemMetrics:
    """One system.

    Attributes:
        name: of the system.
        about: what it is made of, ready for JSON.
        is_baseline: whether it is one of those to be beaten.
        ranks: (n,) of the targets, inf where not found.
        means: "hr@1" and so on, over all users.
        segments: by name, what is tested alone.
        exact: share of answers proven to be the best.
        valid: share of the first `AT` places, or of the texts written, that hold an item of the catalog.
        distinct: share of these that are neither of the history nor repeated.
        coverage: share of the catalog that is among the first `AT` of anybody.
        popularity_rank: mean over the first `AT`; 1 is the item with the most training events.
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
    popularity_rank: float
    cost: Mapping[str, float | None]

    def values(self, metric: str) -> NDArray[np.float64]:
        """Return one value per user, (n,), of a metric such as "ndcg@10"."""
        return METRICS[metric.partition("@")[0]](self.ranks, depth_of(metric))


def depth_of(metric: str) -> int:
    """Return how far down the list a metric looks.

    >>> depth_of("ndcg@10")
    10
    """
    return int(metric.partition("@")[2])


def system_metrics_of(
    name: str,
    about: Mapping[str, Any],
    answers: Sequence[LoggedAnswer],
    asked: EvaluatedUsers,
    *,
    is_baseline: bool,
    seed: int,
) -> SystemMetrics:
    """Return the figures of a system; `answers` are in the order of `asked.users`."""
    ranks = np.array([answer.rank for answer in answers])
    values = {f"{metric}@{k}": of(ranks, k) for metric, of in METRICS.items() for k in KS if k <= asked.k}
    lists = _padded([answer.items for answer in answers])
    n_texts = sum(answer.texts for answer in answers)
    n_valid = n_texts - sum(answer.invalid for answer in answers)
    n_repeated = sum(answer.repeated for answer in answers)
    return SystemMetrics(
        name=name,
        about=about,
        is_baseline=is_baseline,
        ranks=ranks,
        means={metric: estimate(one, seed=seed) for metric, one in values.items()},
        segments={
            segment: Segment(int(mask.sum()), {m: estimate(values[m][mask], seed=seed) for m in asked.tested})
            for segment, mask in asked.segments().items()
        },
        exact=float(np.mean([answer.exact for answer in answers])),
        valid=n_valid / n_texts if n_texts else metrics.valid_rate(lists, asked.depth),
        distinct=1 - n_repeated / max(n_valid, 1) if n_texts else metrics.distinct_rate(lists, asked.depth),
        coverage=metrics.coverage(lists, AT, len(asked.counts)),
        popularity_rank=metrics.mean_popularity_rank(lists, AT, asked.counts),
        cost=_cost(answers),
    )


def _padded(lists: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """Return lists of items as the rows of one array, filled up with -1; at least `AT` wide."""
    padded = np.full((len(lists), max(AT, *map(len, lists))), -1, np.int32)
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
