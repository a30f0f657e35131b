"""Liked sets and the mixture from plain loops over their definitions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genrec_edge.prior.liked import LikedGroup, LikedSets
from tests.support.facts import facts_in_common
from tests.support.priors import N_ITEMS, ease, followed

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Mapping, Sequence

    from tests.support.facts import Film

    Sets = Sequence[Collection[int]]


def random_sets(rng: random.Random, n_sets: int, n_items: int) -> list[list[int]]:
    """Return sets of items; some are empty, and some items are in none."""
    liked = rng.sample(range(n_items), max(1, n_items * 4 // 5))
    return [rng.sample(liked, rng.randint(0, min(6, len(liked)))) for _ in range(n_sets)]


def liked_by_loops(groups: Sequence[Sets], history: Sequence[int], n_items: int) -> list[float]:
    """Return `liked` of each item after a history, oldest first, by counting in every set."""
    newest_first: list[int] = []
    for item in reversed(history):
        if item not in newest_first and len(newest_first) < 20:
            newest_first.append(item)
    total = sum(0.95**age for age in range(len(newest_first)))
    scores = [0.0] * n_items
    for sets in groups:
        for j in range(n_items):
            n_j = sum(j in one for one in sets)
            for age, i in enumerate(newest_first):
                n_i = sum(i in one for one in sets)
                both = sum(i in one and j in one for one in sets)
                if both:
                    scores[j] += 0.95**age / total * both / math.sqrt(n_i * n_j)
    return scores


def liked_sets_of(groups: Sequence[Sets], n_items: int) -> LikedSets:
    return LikedSets(tuple(LikedGroup.of([list(one) for one in sets], n_items) for sets in groups), n_items)


def mixture_by_loops(
    weights: Mapping[str, float],
    history: Sequence[int],
    *,
    films: Sequence[Film] | None = None,
    groups: Sequence[Sets] | None = None,
    known: Sequence[float] | None = None,
    lists: Sequence[Sequence[int]] | None = None,
    recent: Sequence[int] | None = None,
) -> dict[str, list[float]]:
    """Return the nats that each part of the mixture that is there gives each of `N_ITEMS` items after a history."""
    parts: dict[str, list[float]] = {}
    if films is not None:
        once = list(dict.fromkeys(reversed(history)))[::-1]
        parts["facts"] = [weights["facts"] * nats for nats in facts_in_common(films, once)]
    if groups is not None:
        liked = liked_by_loops(groups, history, N_ITEMS)
        parts["liked"] = [weights["liked"] * math.log(0.002 + value) for value in liked]
    if known is not None:
        parts["known"] = [weights["known"] * value for value in known]
    if recent is not None:
        parts["trend"] = [weights["trend"] * math.log(1e-5 + n / (sum(recent) or 1)) for n in recent]
    if lists is not None and history:
        n = [sum(list(items).count(i) for items in lists) for i in range(N_ITEMS)]
        near = [
            sum(
                0.5**p * (followed(lists, i, j) + followed(lists, j, i)) / max(n[i], 1) ** 0.8
                for p, i in enumerate(reversed(history))
            )
            for j in range(N_ITEMS)
        ]
        for name, sums in (("near", near), ("ease", ease(lists, history)), ("popularity", n)):
            shares = [value / (sum(sums) or 1) for value in sums]
            parts[name] = [weights[name] * math.log(2 + N_ITEMS * share) for share in shares]
    return parts


def as_log_probs(parts: Mapping[str, Sequence[float]], history: Sequence[int], n_items: int = N_ITEMS) -> list[float]:
    """Return the log-probabilities over the items outside of a history; its own items have one of 1e-12."""
    scores = [sum(nats[j] for nats in parts.values()) for j in range(n_items)]
    total = sum(math.exp(score) for j, score in enumerate(scores) if j not in history)
    return [math.log(1e-12) if j in history else score - math.log(total) for j, score in enumerate(scores)]
