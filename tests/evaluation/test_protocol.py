"""Evaluation cases: histories, samples of users, candidates and negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.datasets.splits import Split
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.protocol import cases_of, history_of
from genrec_edge.evaluation.ranker import ScoreRanker
from genrec_edge.evaluation.runner import evaluate
from tests.support.evaluation import HISTORIES, N_ITEMS, SPLIT, Scripted, make_split

if TYPE_CHECKING:
    from genrec_edge.datasets.splits import Split
    from genrec_edge.records import Target


def test_the_history_is_what_came_before_the_target() -> None:
    asked = cases_of(SPLIT)
    assert asked.users.tolist() == [0, 1, 2, 3]
    assert asked.targets.tolist() == [7, 0, 2, 8]
    assert [tuple(history.tolist()) for history in asked.histories] == list(HISTORIES)
    assert asked.candidates is None
    validation = cases_of(SPLIT, target="validation")
    assert validation.users.tolist() == [0, 1, 3]
    assert validation.targets.tolist() == [4, 5, 6]
    assert [history.tolist() for history in validation.histories] == [[0, 1], [1, 2, 3], [0, 1, 2, 3]]
    assert history_of(SPLIT, 2, "test").tolist() == [1]


def test_all_systems_are_asked_the_same_sample_and_a_larger_one_contains_it() -> None:
    train = [[i % 7, 8 + i % 5] for i in range(30)]
    split = make_split(train, [20] * 30, [30] * 30)
    samples = [set(cases_of(split, users=n, seed=3).users.tolist()) for n in (5, 10, 29, 99)]
    assert [len(sample) for sample in samples] == [5, 10, 29, 30]
    assert samples[0] < samples[1] < samples[2] < samples[3]
    assert cases_of(split, users=5, seed=4).users.tolist() != sorted(samples[0])
    answers = {tuple(history.tolist()): [30] for history in cases_of(split).histories}
    one, other = Scripted("one", answers), Scripted("other", answers)
    evaluate(split, [one, other], users=5, seed=3)
    assert one.asked == other.asked
    assert len(one.asked) == 5


@pytest.mark.parametrize("target", ["test", "validation"])
def test_sampled_candidates_are_never_met(target: Target) -> None:
    asked = cases_of(SPLIT, target=target, candidates=9, seed=1)
    assert asked.candidates is not None
    for user, wanted, pool in zip(asked.users.tolist(), asked.targets.tolist(), asked.candidates, strict=True):
        met = {*SPLIT.train[user].tolist(), int(SPLIT.validation[user]), int(SPLIT.test[user])}
        assert set(pool.tolist()) & met == {wanted}
        assert (len(set(pool.tolist())), pool.dtype) == (10, np.dtype(np.int32))
    alone = cases_of(SPLIT, target=target, candidates=9, seed=1, users=1)
    assert alone.candidates is not None
    place = asked.users.tolist().index(int(alone.users[0]))
    assert alone.candidates[0].tolist() == asked.candidates[place].tolist()
    other = cases_of(SPLIT, target=target, candidates=9, seed=2)
    assert other.candidates is not None
    assert [pool.tolist() for pool in other.candidates] != [pool.tolist() for pool in asked.candidates]


def test_candidates_are_all_that_is_ranked() -> None:
    best = ScoreRanker("best first", lambda: lambda _: -np.arange(N_ITEMS, dtype=float))
    report = evaluate(SPLIT, [best], candidates=4, seed=2)
    asked = cases_of(SPLIT, candidates=4, seed=2)
    assert asked.candidates is not None
    expected = [1 + pool.tolist().index(wanted) for pool, wanted in zip(asked.candidates, asked.targets, strict=True)]
    assert report.systems[0].ranks.tolist() == expected
    assert report.systems[0].valid == 1.0
    assert report.protocol["candidates"] == 4
    assert "1 + 4 items ranked, sampled" in report.headline()


def test_hard_negatives_are_the_best_of_a_baseline_that_the_user_never_meets(split: Split) -> None:
    scores = np.random.default_rng(0).random(split.n_items)
    asked = cases_of(split, candidates=3, negative_scores=lambda _history: scores)
    assert asked.candidates is not None
    for user, target, pool in zip(asked.users, asked.targets, asked.candidates, strict=True):
        met = {*split.train[user].tolist(), int(split.validation[user]), int(split.test[user])}
        best = sorted((i for i in range(split.n_items) if i not in met), key=lambda i: -scores[i])[:3]
        assert sorted(pool.tolist()) == sorted([*best, int(target)])
    with pytest.raises(UsageError, match="hard `negatives` need a number of candidates"):
        cases_of(split, negative_scores=lambda _history: scores)
