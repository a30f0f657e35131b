"""The prior against nested loops over its definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given

from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import leave_one_out
from genrec_edge.prior.model import SEEN_LOGPROB, PriorCounts, log_prob
from tests.support.priors import COEFFICIENTS, HISTORIES, HISTORY, N_ITEMS, arrays, by_definition

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.records import PriorKind


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["popularity", "sequence"])
@given(lists=HISTORIES, history=HISTORY)
def test_a_prior_is_its_definition(kind: PriorKind, lists: list[list[int]], history: list[int]) -> None:
    found = log_prob(PriorCounts.of(arrays(lists), N_ITEMS), np.array(history, np.int64), kind, COEFFICIENTS)
    assert found.tolist() == pytest.approx(by_definition(lists, history, kind, COEFFICIENTS), abs=1e-5)
    assert np.isfinite(found).all()
    if unseen := [j for j in range(N_ITEMS) if j not in history]:
        assert np.exp(found[unseen]).sum() == pytest.approx(1)


def test_what_was_never_met_is_finite_and_below_what_was() -> None:
    counts = PriorCounts.of(arrays([[0, 1, 2], [0, 1, 3]]), 1000)
    for history in ([], [0], [999]):
        found = log_prob(counts, np.array(history, np.int64), "sequence")
        assert np.isfinite(found).all()
        assert len({found[i] for i in range(10, 900)}) == 1
    assert (
        log_prob(counts, np.array([0]), "sequence")[1] > log_prob(counts, np.array([0]), "sequence")[500] > SEEN_LOGPROB
    )


def test_on_movielens_the_default_coefficients_are_as_good_as_the_book_says(ml_100k: Path) -> None:
    split = leave_one_out(load(ml_100k), "file")
    counts = PriorCounts.of(split.train, split.n_items)
    nats, hits = [], 0
    for user in split.users.tolist():
        found = log_prob(counts, np.append(split.train[user], split.validation[user]), "sequence")
        target = int(split.test[user])
        nats.append(-found[target])
        hits += int((found > found[target]).sum() < 10)
    assert np.mean(nats) == pytest.approx(5.581, abs=0.005)
    assert hits / len(split.users) == pytest.approx(0.2439, abs=0.002)
