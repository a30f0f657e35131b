"""Calibration against hand-computed figures and a search without derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from genrec_edge.evaluation.calibration import auc, brier, calibration_error, fit_line, reliability


def test_the_error_is_the_distance_of_bins_by_hand() -> None:
    """Three in the first of 15 bins, two in the last: (3 * |.02 - 1/3| + 2 * |.98 - .5|) / 5."""
    p = np.array([0.01, 0.02, 0.03, 0.97, 0.99])
    outcomes = np.array([False, True, False, True, False])
    assert [(b.n, round(b.predicted, 4), round(b.true, 4)) for b in reliability(p, outcomes)] == [
        (3, 0.02, 0.3333),
        (2, 0.98, 0.5),
    ]
    assert calibration_error(p, outcomes) == pytest.approx((3 * (1 / 3 - 0.02) + 2 * 0.48) / 5)
    assert brier(p, outcomes) == pytest.approx((0.0001 + 0.9604 + 0.0009 + 0.0009 + 0.9801) / 5)


def test_certainty_falls_into_the_last_bin_and_what_is_right_has_no_error() -> None:
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    assert reliability(np.array([1.0]), np.array([True]))[0].n == 1


def test_the_error_is_that_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(500)
    outcomes = rng.random(500) < p**2
    total = 0.0
    for low in np.arange(15) / 15:
        inside = [i for i in range(500) if low <= p[i] < low + 1 / 15]
        if inside:
            total += abs(sum(p[i] for i in inside) - sum(outcomes[i] for i in inside))
    assert calibration_error(p, outcomes) == pytest.approx(total / 500)


def test_auc_counts_pairs_and_halves_ties() -> None:
    scores, outcomes = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    # 3 beats both; 1 loses to 2 and ties with 1.
    assert auc(scores, outcomes) == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert np.isnan(auc(scores, np.ones(4, np.bool_)))


def test_the_line_is_the_likeliest_one() -> None:
    rng = np.random.default_rng(1)
    margins = rng.normal(0, 2, 2000)
    outcomes = rng.random(2000) < 1 / (1 + np.exp(-(0.4 * margins - 0.7)))
    slope, offset = fit_line(margins, outcomes)
    assert (slope, offset) == pytest.approx((0.4, -0.7), abs=0.15)

    def nats(a: float, b: float) -> float:
        z = a * margins + b
        return float(np.logaddexp(0, np.where(outcomes, -z, z)).sum())

    best = nats(slope, offset)
    assert all(nats(slope + da, offset + db) > best for da in (-0.01, 0, 0.01) for db in (-0.01, 0, 0.01) if da or db)
    p = 1 / (1 + np.exp(-(slope * margins + offset)))
    assert p.mean() == pytest.approx(outcomes.mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("margins", "outcomes"), [([1.0, 2.0], [True, True]), ([1.0, 2.0], [False, True]), ([2.0, 1.0], [False, True])]
)
def test_where_there_is_no_likeliest_line_it_says_so(margins: list[float], outcomes: list[bool]) -> None:
    with pytest.raises(ValueError, match="outcomes"):
        fit_line(np.array(margins), np.array(outcomes))
