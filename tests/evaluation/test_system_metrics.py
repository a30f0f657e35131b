"""Metrics of a system against numbers computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.evaluation.ranker import Ranking, ScoreRanker
from genrec_edge.evaluation.runner import evaluate
from genrec_edge.evaluation.system_metrics import COLD, LONG, RARE, EvaluatedUsers
from tests.support.evaluation import FIRST, HISTORIES, N_ITEMS, SPLIT, Scripted

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_figures_by_hand() -> None:
    (system,) = evaluate(SPLIT, [FIRST]).to_json()["systems"]
    means = {name: value["mean"] for name, value in system["metrics"].items()}
    assert means == pytest.approx(
        {
            "hr@1": 1 / 4,
            "hr@3": 2 / 4,
            "hr@5": 2 / 4,
            "hr@10": 3 / 4,
            "hr@20": 3 / 4,
            "ndcg@1": 1 / 4,
            **{f"ndcg@{k}": (1 + 1 / math.log2(3)) / 4 for k in (3, 5)},
            **{f"ndcg@{k}": (1 + 1 / math.log2(3) + 1 / math.log2(7)) / 4 for k in (10, 20)},
            "mrr@1": 1 / 4,
            **{f"mrr@{k}": (1 + 1 / 2) / 4 for k in (3, 5)},
            **{f"mrr@{k}": (1 + 1 / 2 + 1 / 6) / 4 for k in (10, 20)},
        }
    )
    for value in system["metrics"].values():
        assert value["low"] <= value["mean"] <= value["high"]
    segments = {name: (part["users"], part["hr@10"]["mean"]) for name, part in system["segments"].items()}
    assert segments == {
        "history 1-3": (2, 1 / 2),
        "history 4-5": (2, 1.0),
        "history > 50 events": (0, None),
        "target with < 5 events": (4, 3 / 4),
        "target without events": (2, 1.0),
    }
    # 20 of the 40 first places are filled
    shown = [7, 9, 9, 0, *range(20, 30), 9, 10, 11, 12, 13, 8]
    counts = np.bincount(np.concatenate(SPLIT.train), minlength=N_ITEMS)
    ranks = [1 + sum(counts > counts[i]) + (sum(counts == counts[i]) - 1) / 2 for i in shown]
    assert system["answers"] == pytest.approx(
        {
            "exact": 1 / 4,
            "valid": 20 / 40,
            "distinct": 1.0,
            "coverage@10": len(set(shown)) / N_ITEMS,
            "items@10": len(set(shown)),
            "overlap@10": 3 / 6 / 10,  # 9 is in three of the four rankings
            "popularity_rank@10": np.mean(ranks),
        }
    )
    cost = system["cost"]
    assert (cost["tokens_per_user"], cost["latency_p50_s"], cost["latency_p95_s"]) == (103.25, 0.5, 0.5)
    assert cost["users_per_s"] > 0
    assert cost["peak_memory_mib"] > 1


def test_longer_answers_have_longer_figures() -> None:
    far = Scripted(
        "far", {history: [*range(20, 40), 9, target] for history, target in zip(HISTORIES, (7, 0, 2, 8), strict=False)}
    )
    (system,) = evaluate(SPLIT, [far], k=50).systems
    assert (system.means["hr@20"].mean, system.means["hr@50"].mean, "hr@100" in system.means) == (0, 1, False)
    assert evaluate(SPLIT, [far]).systems[0].ranks.tolist() == [math.inf] * 4


def test_texts_are_counted_where_they_were_written() -> None:
    class Writer(Scripted):
        def rank_many(self, *arguments: Any, **options: Any) -> Iterator[Ranking]:
            for ranked in super().rank_many(*arguments, **options):
                yield replace(ranked, texts=10, invalid=4, repeated=3)

    (system,) = evaluate(SPLIT, [Writer("texts", {key: [30, 31, 32] for key in HISTORIES})]).systems
    assert (system.valid, system.distinct) == (0.6, 0.5)


def test_equal_scores_share_their_places() -> None:
    with_ties = ScoreRanker("ties", lambda: lambda _: np.zeros(N_ITEMS))
    (system,) = evaluate(SPLIT, [with_ties]).systems
    assert system.ranks.tolist() == [(N_ITEMS - len(history) + 1) / 2 for history in HISTORIES]


def test_target_segments() -> None:
    event_counts = np.array([0, 4, 5, 100])
    targets = np.array([3, 0, 1, 2], np.int32)
    users = EvaluatedUsers(np.arange(4, dtype=np.int32), targets, np.array([1, 2, 51, 50]), event_counts, 20, 10)
    segments = {name: np.flatnonzero(mask).tolist() for name, mask in users.segments().items()}
    assert segments[RARE] == [1, 2]
    assert segments[COLD] == [1]
    assert segments[LONG] == [2]
    assert (RARE, COLD, LONG) == ("target with < 5 events", "target without events", "history > 50 events")
