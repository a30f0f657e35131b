"""Liked sets and the mixture as baselines of an evaluation, and beside a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.systems import baseline_rankers, model_variants, negatives_of
from genrec_edge.prior.dataset_mixture import mixture_of, open_mixture, training_events
from tests.support.mixtures import liked_by_loops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split
    from genrec_edge.hub.store import ModelFile

pytestmark = pytest.mark.slow

HISTORY = np.array([1, 4, 7, 4], np.int32)
OUTSIDE = [item for item in range(24) if item not in {1, 4, 7}]


def scores_of(name: str, dataset: Dataset, split: Split, *, transfer: bool = False) -> NDArray[np.float64]:
    """Return the scores of the items outside of the history by a baseline, by item."""
    (system,) = baseline_rankers([name], dataset, split, transfer=transfer)
    with system as ranker:
        (ranking,) = ranker.rank_many([HISTORY], 24)
    assert system.name == name
    assert sorted(ranking.items.tolist()) == OUTSIDE
    return np.asarray(ranking.scores[np.argsort(ranking.items)])


def test_liked_sets_are_the_training_parts_of_the_users(dataset: Dataset, split: Split) -> None:
    """All events are of 1970, so that no film was old then; no dialogue is about a film of this data set."""
    expected = liked_by_loops([[own.tolist() for own in split.train]], [1, 7, 4], 24)
    assert sum(value > 0 for value in expected) > 3
    assert scores_of("liked", dataset, split).tolist() == pytest.approx([expected[item] for item in OUTSIDE])
    negatives = negatives_of("liked", dataset, split)
    assert isinstance(negatives, tuple)
    assert (negatives[0], negatives[1](HISTORY).tolist()) == ("liked", pytest.approx(expected))


def test_the_mixture_is_that_of_the_training_part(dataset: Dataset, split: Split) -> None:
    found = scores_of("mixture", dataset, split)
    assert np.exp(found).sum() == pytest.approx(1)
    recent = training_events(dataset, split.train).recent()
    truth = replace(mixture_of(dataset, split.train), recent=recent).log_prob(HISTORY.tolist())[OUTSIDE]
    assert found.tolist() == pytest.approx(truth.tolist(), abs=1e-9)
    whole = mixture_of(dataset, [dataset.items[dataset.users == user] for user in range(dataset.n_users)])
    assert found.tolist() != pytest.approx(whole.log_prob(HISTORY.tolist())[OUTSIDE].tolist(), abs=1e-4)


def test_with_transfer_no_event_is_seen(dataset: Dataset, split: Split) -> None:
    nobody = replace(split, train=tuple(np.array([], np.int32) for _ in split.train))
    for name in ("liked", "mixture", "facts"):
        found = scores_of(name, dataset, split, transfer=True)
        assert found.tolist() == scores_of(name, dataset, nobody, transfer=True).tolist()
    assert not scores_of("liked", dataset, split, transfer=True).any()
    found = scores_of("mixture", dataset, split, transfer=True)
    assert found.tolist() == open_mixture(dataset).log_prob(HISTORY.tolist())[OUTSIDE].tolist()
    assert found.tolist() != scores_of("mixture", dataset, split).tolist()


@pytest.mark.parametrize("transfer", [False, True])
def test_a_model_may_be_asked_with_the_mixture(
    transfer: bool, model_file: ModelFile, dataset: Dataset, split: Split
) -> None:
    def scores(**options: Any) -> dict[int, float]:
        with LlmRanker(model_file, dataset, n_threads=1, **options) as ranker:
            ranking = ranker.rank(HISTORY, 24)
            names.append(ranker.name)
        return dict(zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True))

    names: list[str] = []
    variants = list(model_variants([], "mixture", [0, 2.0], dataset, split, transfer=transfer))
    assert [(decode, prior and (prior.name, prior.weight)) for decode, prior in variants] == [
        ("exact", None),
        ("exact", ("mixture", 2.0)),
    ]
    alone, added = (scores(prior=prior) for _, prior in variants)
    mixture = dict(zip(OUTSIDE, scores_of("mixture", dataset, split, transfer=transfer).tolist(), strict=True))
    expected = {item: nats + 2 * mixture[item] for item, nats in alone.items()}
    assert added == pytest.approx(expected, abs=1e-3, rel=1e-5)
    assert names == ["tiny-llama", "tiny-llama + 2 mixture"]


@pytest.mark.parametrize("name", ["liked", "mixture"])
def test_negatives_of_a_transfer_are_chosen_without_events(name: str, dataset: Dataset, split: Split) -> None:
    """By what the baseline of that name says in the same evaluation."""
    for transfer in (False, True):
        chosen = negatives_of(name, dataset, split, transfer=transfer)
        assert isinstance(chosen, tuple)
        scores = chosen[1](HISTORY)
        expected = scores_of(name, dataset, split, transfer=transfer)
        assert [scores[item] for item in OUTSIDE] == pytest.approx(list(expected), rel=1e-6)


def test_the_mixture_knows_what_was_met_before_the_time_of_a_target(dataset: Dataset, split: Split) -> None:
    """And a model that is asked with it, too: with a weight of 1000 it is ranked as the mixture ranks."""
    trained = {(user, item) for user, own in enumerate(split.train) for item in own.tolist()}
    events = [
        (time, item)
        for user, item, time in zip(dataset.users, dataset.items, dataset.timestamps, strict=True)
        if (user, item) in trained
    ]
    times = sorted({time for time, _ in events})
    asked, found = [times[0], times[len(times) // 2], times[-1] + 1.0], []
    (system,) = baseline_rankers(["mixture"], dataset, split)
    with system as ranker:
        rankings = list(ranker.rank_many([HISTORY] * 3, 24, times=asked))
    for time, ranking in zip(asked, rankings, strict=True):
        recent = [0] * 24
        for other, item in events:
            recent[item] += time - 28 * 86400 <= other < time
        truth = replace(mixture_of(dataset, split.train), recent=np.array(recent)).log_prob(HISTORY.tolist())
        scores = dict(zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True))
        assert scores == pytest.approx({item: truth[item] for item in OUTSIDE}, abs=1e-9)
        found.append(sum(recent))
    assert found[0] == 0 < found[-1]
    ((_, term),) = model_variants([], "mixture", [2.0], dataset, split)
    assert term is not None
    for time, ranking in zip(asked, rankings, strict=True):
        fused = term.fused_scores(HISTORY, np.arange(24, dtype=np.int32), None, time)
        assert [fused.bias[item] for item in ranking.items] == pytest.approx((2 * ranking.scores).tolist())
