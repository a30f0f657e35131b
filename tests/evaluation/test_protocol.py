"""Evaluation cases: histories, samples of users, candidates and negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.datasets.negatives import WeekPopularity
from genrec_edge.datasets.splits import leave_one_out
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.ranker import ScoreRanker
from genrec_edge.evaluation.runner import evaluate
from genrec_edge.evaluation.target_age import old_targets
from tests.support.evaluation import HISTORIES, N_ITEMS, SPLIT, Scripted, make_split
from tests.support.event_tables import dataset_of

if TYPE_CHECKING:
    from genrec_edge.datasets.split import Split
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
    assert SPLIT.history(2, "test").tolist() == [1]


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
    with pytest.raises(UsageError, match="`negatives` that are chosen need a number of candidates"):
        cases_of(split, negative_scores=lambda _history: scores)


def test_the_target_stands_among_what_was_met_in_its_week() -> None:
    """Users 2 to 9 meet 4 and 5 in the week of user 0, and 6 to 9 long before."""
    day = 86400.0
    others = [(user, item, when * day) for user in range(2, 10) for item, when in ((6, 1), (7, 2), (4, 100), (5, 101))]
    dataset = dataset_of([(0, 0, 0), (0, 1, 50 * day), (0, 2, 100 * day), *others], n_users=10, n_items=10)
    split, popular = leave_one_out(dataset, "file"), WeekPopularity(dataset)
    asked = cases_of(split, candidates=2, week_popularity=popular)
    pools = dict(zip(asked.users.tolist(), asked.candidates or (), strict=True))
    assert pools[0].tolist() == [2, 4, 5]
    assert popular.n_widened > 0  # the others have met all of each other's films
    again = cases_of(split, candidates=2, week_popularity=WeekPopularity(dataset))
    assert [pool.tolist() for pool in again.candidates or ()] == [pool.tolist() for pool in asked.candidates or ()]
    report = evaluate(
        split, [ScoreRanker("a", lambda: lambda _: np.arange(10.0))], candidates=2, negatives=popular, k=3
    )
    assert "1 + 2 items ranked, by the popularity of their week (" in report.headline()
    with pytest.raises(UsageError, match="`negatives` that are chosen need a number of candidates"):
        cases_of(split, week_popularity=popular)


def test_only_old_targets_are_asked_for_and_that_is_said() -> None:
    """Of 2013-07: 2012 is a year old, 2013 is not, and one film has no year."""
    july = 1_372_636_800.0
    years = [2013, 2012, None, 1990, 2000, 2001]
    rows = [(user, item, july + place) for user in range(4) for place, item in enumerate((4, 5, user))]
    dataset = dataset_of(rows, years=years)
    split = leave_one_out(dataset, "file")
    old = old_targets(dataset, split, "test", 1)
    assert (old.users.tolist(), old.n_younger, old.n_undated) == ([False, True, False, True], 1, 1)
    assert old.note() == "left out: 1 of 4 targets younger than 1 year, 1 without a year"
    assert old_targets(dataset, split, "test", 2).users.tolist() == [False, False, False, True]
    assert old_targets(dataset, split, "validation", 12).users.tolist() == [True] * 4
    report = evaluate(split, [ScoreRanker("a", lambda: lambda _: np.arange(6.0))], old=old)
    assert (report.protocol["users"], report.protocol["min_age"]) == (2, 1)
    assert "the test items of 2 users, 1 year old or older, all 6 items" in report.headline()
    with pytest.raises(UsageError, match="no test item of made was 24 years old or older when its user met it"):
        old_targets(dataset, split, "test", 24)
    with pytest.raises(UsageError, match="`min_age` must be at least 1, got 0"):
        old_targets(dataset, split, "test", 0)
