"""How good ranked answers are: per user, so that means, intervals and tests can be made of them.

A rank is 1 for the best item, and inf where the target was not found. Items with the same score share the mean of their
places, so a rank can end in .5; it is in the top k when it is below k + 1: two items that share the places k and k + 1
are both in. Lists of answers are (n_users, depth) arrays of item indexes, best first, -1 where there is none.

Knows numbers only, nothing of models and data sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def rank_of(scores: NDArray[np.floating], target: int, allowed: NDArray[np.bool_] | None = None) -> float:
    """Return the rank of one item among the allowed ones, from 1; with m equal scores, the mean of their m places.

    Args:
        scores: (n_items,), higher is better, -inf included.
        target: an item index.
        allowed: (n_items,), or None for all. A target that is not allowed has the rank inf.

    Raises:
        EngineError: a score is not a number; such a target would otherwise come first.
    """
    if np.isnan(scores).any():
        raise EngineError(f"{int(np.isnan(scores).sum()):,} of {len(scores):,} scores are not numbers")
    if allowed is not None and not allowed[target]:
        return np.inf
    own = scores[target]
    others = scores if allowed is None else scores[allowed]
    return 1 + float(np.count_nonzero(others > own)) + (np.count_nonzero(others == own) - 1) / 2


def ranks_in(lists: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the rank of each user's target in the user's list, (n_users,), inf where it is not in it."""
    return _first((lists == targets[:, None]) & (lists >= 0))


def hit(ranks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return 1.0 where the target is among the first k, else 0.0: hit rate, and recall, of one target per user."""
    return (ranks < k + 1).astype(np.float64)


def ndcg(ranks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return 1 / log2(1 + rank) where the target is among the first k, else 0: NDCG of one target per user."""
    return np.where(ranks < k + 1, 1 / np.log2(1 + ranks), 0.0)


def reciprocal_rank(ranks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return 1 / rank where the target is among the first k, else 0."""
    return np.where(ranks < k + 1, 1 / ranks, 0.0)


def found_in(lists: NDArray[np.integer], relevant: Sequence[NDArray[np.integer]]) -> NDArray[np.bool_]:
    """Return which places of each list hold one of the user's relevant items, (n_users, depth), repetitions not.

    Give what it returns to the functions for many targets per user, below.
    """
    found = np.zeros(lists.shape, np.bool_)
    for user, (items, wanted) in enumerate(zip(lists, relevant, strict=True)):
        firsts = np.unique(items, return_index=True)[1]
        found[user, firsts] = np.isin(items[firsts], wanted[wanted >= 0])
    return found


def hit_of_many(found: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Return 1.0 for users with any relevant item among the first k, else 0.0."""
    return np.asarray(found[:, :k].any(axis=1), np.float64)


def recall_of_many(found: NDArray[np.bool_], n_relevant: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Return which share of all relevant items, `n_relevant` (n_users,) at least 1, is among the first k."""
    return np.asarray(found[:, :k].sum(axis=1) / n_relevant)


def ndcg_of_many(found: NDArray[np.bool_], n_relevant: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Return the discounted gain of the first k, as a share of that of the best possible list; gains are 0 or 1."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gain = found[:, :k].astype(np.float64) @ discounts[: found.shape[1]]
    return np.asarray(gain / np.cumsum(discounts)[np.minimum(n_relevant, k) - 1])


def reciprocal_rank_of_many(found: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Return 1 / the rank of the first relevant item among the first k, else 0."""
    return np.asarray(1 / _first(found[:, :k]))


def valid_rate(lists: NDArray[np.integer], k: int) -> float:
    """Return the share of the first k places of all lists that hold an item."""
    return float((lists[:, :k] >= 0).sum() / (len(lists) * k))


def distinct_rate(lists: NDArray[np.integer], k: int) -> float:
    """Return the share of the items in the first k places that are not a repetition in their list; 1 without items."""
    items = np.sort(lists[:, :k], axis=1)
    valid = items >= 0
    repeated = (items[:, 1:] == items[:, :-1]) & valid[:, 1:]
    return float(1 - repeated.sum() / max(valid.sum(), 1))


def coverage(lists: NDArray[np.integer], k: int, n_items: int) -> float:
    """Return the share of the catalog's items that are among the first k of at least one list."""
    shown = np.unique(lists[:, :k])
    return int((shown >= 0).sum()) / n_items


def mean_popularity_rank(lists: NDArray[np.integer], k: int, counts: NDArray[np.integer]) -> float:
    """Return the mean popularity rank of the items in the first k places; nan without items.

    1 is the item with the most events, `counts` (n_items,); items with as many share the mean of their places.
    """
    _, which, sizes = np.unique(-counts, return_inverse=True, return_counts=True)
    ranks = np.cumsum(sizes) - (sizes - 1) / 2
    items = lists[:, :k]
    items = items[items >= 0]
    return float(ranks[which[items]].mean()) if len(items) else float("nan")


def history_segments(lengths: NDArray[np.integer], parts: int = 2) -> dict[str, NDArray[np.bool_]]:
    """Split users into parts of about the same size by the length of their histories; names say the range.

    Equal lengths stay together, so a part may be larger than another, or missing.
    """
    borders = np.quantile(lengths, np.arange(1, parts) / parts, method="inverted_cdf")
    which = np.searchsorted(borders, lengths, side="left")
    segments = {}
    for part in range(parts):
        mask = which == part
        if mask.any():
            segments[f"history {lengths[mask].min()}-{lengths[mask].max()}"] = mask
    return segments


def target_segments(
    targets: NDArray[np.integer], counts: NDArray[np.integer], rare: int = 5
) -> dict[str, NDArray[np.bool_]]:
    """Split users by whether their target has fewer than `rare` training events; a part without users is missing."""
    few = counts[targets] < rare
    parts = {f"target with < {rare} events": few, f"target with >= {rare} events": ~few}
    return {name: mask for name, mask in parts.items() if mask.any()}


def _first(found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the rank of the first true value of each row, inf where there is none."""
    if not found.shape[1]:
        return np.full(len(found), np.inf)
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)
