"""Priors from nested loops over the definition, and data sets and files to count."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import strategies as st

from genrec_edge.datasets.folder import Dataset
from genrec_edge.datasets.histories import user_histories
from genrec_edge.prior import build
from genrec_edge.prior.model import DECAYS, SEEN_LOGPROB, Coefficients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.prior.db import ItemPrior
    from genrec_edge.records import Ties


N_ITEMS = 7


HISTORY = st.lists(st.integers(0, N_ITEMS - 1), max_size=14)


HISTORIES = st.lists(HISTORY, min_size=1, max_size=5)


COEFFICIENTS = Coefficients((0.7, 0.3, -0.2, 1.1), (-1.0, 0.5, -2.0, -0.3))


def arrays(lists: Sequence[Sequence[int]]) -> list[NDArray[np.int32]]:
    return [np.array(items, np.int32) for items in lists]


def followed(lists: Sequence[Sequence[int]], i: int, j: int) -> float:
    return sum(
        1 / (b - a)
        for items in lists
        for a in range(len(items))
        for b in range(a + 1, min(a + 11, len(items)))
        if (items[a], items[b]) == (i, j)
    )


def ease(lists: Sequence[Sequence[int]], history: Sequence[int]) -> list[float]:
    """Return EASE's scores from ridge regressions, one item on all others: no inverse of the whole."""
    met = np.array([[i in items for i in range(N_ITEMS)] for items in lists], np.float64).reshape(-1, N_ITEMS)
    scores = []
    for j in range(N_ITEMS):
        others = np.delete(met, j, axis=1)
        weights = np.linalg.solve(others.T @ others + 100 * np.eye(N_ITEMS - 1), others.T @ met[:, j])
        score = sum(np.insert(weights, j, 0.0)[i] for i in set(history))
        scores.append(score if score > 1e-5 and j not in history else 0.0)
    return scores


def by_definition(lists: Sequence[Sequence[int]], history: Sequence[int], kind: str, c: Coefficients) -> list[float]:
    """Return the log-probability of each item as `priors` defines it, one number after the other."""
    n = [sum(items.count(i) for items in map(list, lists)) for i in range(N_ITEMS)]
    pop = [(n[j] + 0.5) / sum(k + 0.5 for k in n) for j in range(N_ITEMS)]
    scores = [math.log(p) for p in pop]
    sums = [
        [
            sum(
                d**p * (followed(lists, i, j) + followed(lists, j, i)) / max(n[i], 1) ** 0.8
                for p, i in enumerate(reversed(history))
            )
            for j in range(N_ITEMS)
        ]
        for d in DECAYS
    ]
    sums.append(ease(lists, history))
    if kind == "sequence" and max(map(max, sums)) > 0:
        scores = [c.weights[0] * math.log(N_ITEMS * p + math.exp(c.log_floors[0])) for p in pop]
        for s, weight, log_floor in zip(sums, c.weights[1:], c.log_floors[1:], strict=True):
            for j in range(N_ITEMS):
                scores[j] += weight * math.log(N_ITEMS * s[j] / (sum(s) or 1) + math.exp(log_floor))
    total = sum(math.exp(score) for j, score in enumerate(scores) if j not in history)
    return [SEEN_LOGPROB if j in history else score - math.log(total) for j, score in enumerate(scores)]


def dataset_of(events: Sequence[tuple[str, int, float]], n_items: int = N_ITEMS) -> Dataset:
    """Return a data set of (user, item, time) in this order."""
    user_ids = tuple(dict.fromkeys(user for user, _, _ in events))
    return Dataset(
        name="made",
        path=Path("made"),
        card={"interactions": {"sha256": "0"}},
        user_ids=user_ids,
        item_ids=tuple(f"i{i}" for i in range(n_items)),
        rows=np.arange(1, n_items + 1),
        titles=tuple((f"Title {i}", 1990 + i if i % 2 else None) for i in range(n_items)),
        users=np.array([user_ids.index(user) for user, _, _ in events], np.int32),
        items=np.array([item for _, item, _ in events], np.int32),
        timestamps=np.array([time for _, _, time in events], np.float64),
        ratings=np.full(len(events), np.nan, np.float32),
    )


def built(path: Path, events: Sequence[tuple[str, int, float]], ties: Ties = "file", **options: Any) -> ItemPrior:
    dataset = dataset_of(events)
    return build.build(path, dataset, user_histories(dataset, ties), ties, **options)


def written(path: Path, events: Sequence[tuple[str, int, float]]) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "item", "timestamp"])
        rows.writerows((user, f"i{item}", repr(time)) for user, item, time in events)
    return path


def assert_same(found: ItemPrior, expected: ItemPrior) -> None:
    assert found.counts.events.tolist() == expected.counts.events.tolist()
    a, b = found.counts.transitions, expected.counts.transitions
    assert (a.rows.tolist(), a.columns.tolist()) == (b.rows.tolist(), b.columns.tolist())
    assert a.values == pytest.approx(b.values, abs=1e-9)
    assert found.recent is not None
    assert expected.recent is not None
    assert found.recent.tolist() == expected.recent.tolist()


EVENTS = [("ann", 0, 1.0), ("bob", 1, 2.0), ("ann", 2, 3.0), ("ann", 3, 3.0), ("bob", 2, 4.0), ("ann", 0, 5.0)]
