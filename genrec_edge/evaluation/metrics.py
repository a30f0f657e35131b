"""Figures of ranked items, one per user, so that means, intervals and tests can be made of them.

A rank is 1 for the best item, and inf where the target was not found. Items with equal scores share the mean of their
ranks, so a rank can end in .5. It is in the top k when it is below k + 1: two items that share the ranks k and k + 1
are both in. Rankings are (n_users, depth) arrays of item indexes, best first, -1 where there is no item.

Knows numbers only, nothing of models and data sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rank_of(scores: NDArray[np.floating], target: int, allowed: NDArray[np.bool_] | None = None) -> float:
    """Return the rank of one item among the allowed ones, from 1; m items with equal scores share the mean of m ranks.

    Args:
        scores: (n_items,), higher is better, -inf included.
        target: an item index.
        allowed: (n_items,), or None for all. A target that is not allowed has rank inf.

    Raises:
        EngineError: a score is NaN. Without the check such a target would come first.
    """
    if np.isnan(scores).any():
        raise EngineError(f"{int(np.isnan(scores).sum()):,} of {len(scores):,} scores are not numbers")
    if allowed is not None and not allowed[target]:
        return np.inf
    target_score = scores[target]
    candidates = scores if allowed is None else scores[allowed]
    n_better, n_equal = np.count_nonzero(candidates > target_score), np.count_nonzero(candidates == target_score)
    return 1 + float(n_better) + (n_equal - 1) / 2


def hit(ranks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return 1.0 where the target is among the first k, else 0.0. With one target per user this is recall@k, too."""
    return (ranks < k + 1).astype(np.float64)


def ndcg(ranks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return NDCG@k for one target per user: 1 / log2(1 + rank) where it is among the first k, else 0."""
    return np.where(ranks < k + 1, 1 / np.log2(1 + ranks), 0.0)


def reciprocal_rank(ranks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return 1 / rank where the target is among the first k, else 0."""
    return np.where(ranks < k + 1, 1 / ranks, 0.0)


def valid_rate(rankings: NDArray[np.integer], k: int) -> float:
    """Return the share of the first k places of all rankings that hold an item."""
    return float((rankings[:, :k] >= 0).sum() / (len(rankings) * k))


def distinct_rate(rankings: NDArray[np.integer], k: int) -> float:
    """Return the share of the items in the first k places that do not repeat an earlier one; 1 without items."""
    items = np.sort(rankings[:, :k], axis=1)
    valid = items >= 0
    repeated = (items[:, 1:] == items[:, :-1]) & valid[:, 1:]
    return float(1 - repeated.sum() / max(valid.sum(), 1))


def coverage(rankings: NDArray[np.integer], k: int, n_items: int) -> float:
    """Return the share of the catalog's items that are among the first k of at least one ranking."""
    return items_shown(rankings, k) / n_items


def items_shown(rankings: NDArray[np.integer], k: int) -> int:
    """Return how many different items are among the first k of at least one ranking."""
    ranked = np.unique(rankings[:, :k])
    return int((ranked >= 0).sum())


def mean_overlap(rankings: NDArray[np.integer], k: int) -> float:
    """Return the share of the first k places that two rankings have in common, the mean over all pairs; nan for one.

    No pair is drawn: an item that is in m rankings is shared by m (m - 1) / 2 pairs. Items of a ranking must differ.
    This is one minus the inter-user diversity of Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of
    recommender systems", equation 2.
    """
    n = len(rankings)
    if n < 2:
        return float("nan")
    items = rankings[:, :k]
    counts = np.unique(items[items >= 0], return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / (n * (n - 1)) / k)


def mean_popularity_rank(rankings: NDArray[np.integer], k: int, event_counts: NDArray[np.integer]) -> float:
    """Return the mean popularity rank of the items in the first k places; nan without items.

    1 is the item with the most events, `event_counts` (n_items,); items with equal counts share a mean rank.
    """
    _, which, sizes = np.unique(-event_counts, return_inverse=True, return_counts=True)
    ranks = np.cumsum(sizes) - (sizes - 1) / 2
    items = rankings[:, :k]
    items = items[items >= 0]
    return float(ranks[which[items]].mean()) if len(items) else float("nan")


def history_segments(lengths: NDArray[np.integer], parts: int = 2) -> dict[str, NDArray[np.bool_]]:
    """Split users into `parts` of about equal size by the length of their histories, (n_users,); names state the range.

    Equal lengths stay together, so a part may be larger than another, or missing.
    """
    bounds = np.quantile(lengths, np.arange(1, parts) / parts, method="inverted_cdf")
    which = np.searchsorted(bounds, lengths, side="left")
    segments = {}
    for part in range(parts):
        mask = which == part
        if mask.any():
            segments[f"history {lengths[mask].min()}-{lengths[mask].max()}"] = mask
    return segments
