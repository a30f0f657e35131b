"""The teacher's probabilities at titles, verdicts and pairs."""

from __future__ import annotations

import numpy as np
import pytest

from genrec_edge.convert.training.data.soft_targets import SoftTargets

FIRST, NEXT = [0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4]


def soft_targets(history: list[int]) -> SoftTargets:
    return SoftTargets(np.log(np.array([FIRST, NEXT], np.float32)), np.array(history, np.int64), n_items=4)


def test_titles_are_taken_in_order_and_those_that_do_not_match_share_a_fiftieth() -> None:
    targets = soft_targets([])
    np.testing.assert_allclose(np.exp(targets.take_title(None)), FIRST, 1e-5)
    found = targets.take_title(np.array([False, True, True, False]))
    np.testing.assert_allclose(
        np.exp(found), [0.02 * 0.1 / 0.5, 0.98 * 0.2 / 0.5, 0.98 * 0.3 / 0.5, 0.02 * 0.4 / 0.5], 1e-5
    )


@pytest.mark.parametrize("matches", [True, False])
def test_where_all_titles_match_or_none_does_words_change_nothing(matches: bool) -> None:
    np.testing.assert_allclose(np.exp(soft_targets([]).take_title(np.full(4, matches))), FIRST, 1e-5)


def test_one_title_in_many_that_matches_gets_nearly_all_the_probability() -> None:
    n = 30_000
    targets = SoftTargets(np.full((2, n), -np.log(n), np.float32), np.array([], np.int64), n)
    found = np.exp(targets.take_title(np.arange(n) == 7).astype(np.float64))
    assert found[7] == pytest.approx(0.98, rel=1e-4)
    assert found.sum() == pytest.approx(1, rel=1e-4)


def test_a_verdict_compares_the_next_item_with_a_uniform_negative() -> None:
    share = 0.3 / (1 - 0.1)  # of the items outside the history
    assert soft_targets([0]).positive_probability(2) == pytest.approx(share / (share + 1 / 3), rel=1e-5)


def test_of_two_titles_the_shares_decide() -> None:
    assert soft_targets([]).first_probability(1, 3) == pytest.approx(0.2 / 0.6, rel=1e-5)
    assert soft_targets([]).first_probability(3, 1) == pytest.approx(0.4 / 0.6, rel=1e-5)
