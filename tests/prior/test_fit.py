"""Fitting coefficients: the minimiser, the gradient, and the gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.errors import UsageError
from genrec_edge.prior.fit import fit, minimise
from tests.support.priors import COEFFICIENTS, arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray


def test_the_best_of_a_smooth_function_is_found() -> None:
    def rosenbrock(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b = x
        slope = np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])
        return float((1 - a) ** 2 + 100 * (b - a * a) ** 2), slope

    place, value = minimise(rosenbrock, np.array([-1.2, 1.0]))
    assert place == pytest.approx([1, 1], abs=0.01)
    assert value < 1e-4


@pytest.mark.slow
def test_fitted_coefficients_explain_better_and_the_slope_is_that_of_the_loss() -> None:
    from genrec_edge.prior.fit import _loss, _positions

    rng = np.random.default_rng(3)
    # A walk around a ring: the last item says nearly all, popularity nothing.
    walks = [np.cumsum(rng.choice([1, 1, 1, 2, 5], size=12)) % 40 for _ in range(60)]
    lists = [list(dict.fromkeys(walk.tolist())) for walk in walks]
    found = fit(arrays(lists), 40)
    assert found.nats < found.default_nats - 0.05
    data = _positions(arrays(lists), 40, np.random.default_rng(0))
    at = np.array([*COEFFICIENTS.weights, *COEFFICIENTS.log_floors])
    _, slope = _loss(at, *data)
    for i in range(len(at)):
        step = np.eye(len(at))[i] * 1e-4
        numeric = (_loss(at + step, *data)[0] - _loss(at - step, *data)[0]) / 2e-4
        assert slope[i] == pytest.approx(numeric, abs=1e-4)


def test_nothing_to_fit_to_says_so() -> None:
    with pytest.raises(UsageError, match="no history can be explained by the others"):
        fit(arrays([[0], [2]]), 4)
