"""How far probabilities are from frequencies, and the line that brings log-odds nearer to them. Knows numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15
"""Source: Guo et al. 2017, arXiv 1706.04599, section 4."""
_STEPS = 100
_ENOUGH = 1e-10
_RIDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions near each other: how many, their mean, and the share that came true."""

    n: int
    predicted: float
    true: float


def reliability(probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> list[Bin]:
    """Return the bins of equal width that are not empty, ascending; both arrays are (n,)."""
    which = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    return [
        Bin(int(inside.sum()), float(probabilities[inside].mean()), float(outcomes[inside].mean()))
        for number in range(BINS)
        if (inside := which == number).any()
    ]


def calibration_error(probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, 0..1: the mean distance of bins from the diagonal, by their sizes.

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    bins = reliability(probabilities, outcomes)
    return sum(b.n * abs(b.predicted - b.true) for b in bins) / len(outcomes)


def brier(probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> float:
    """Return the mean squared error of the probabilities, 0..1. Source: Brier 1950, Monthly Weather Review 78(1)."""
    return float(np.mean((probabilities - outcomes) ** 2))


def auc(scores: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> float:
    """Return the share of pairs of one that came true and one that did not with the higher score on the first.

    Equal scores count a half. nan where there are none of one kind.
    """
    true, false = scores[outcomes], np.sort(scores[~outcomes])
    if not len(true) or not len(false):
        return float("nan")
    below = np.searchsorted(false, true, side="left") + np.searchsorted(false, true, side="right")
    return float(below.mean() / 2 / len(false))


def fit_line(margins: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset for which sigmoid(slope * margin + offset) makes the outcomes likeliest.

    By Newton's method. Source: Platt 1999, "Probabilistic outputs for support vector machines", section 2.1.

    Raises:
        ValueError: all outcomes are the same, or a line parts them: there is no likeliest one.
    """
    if outcomes.all() or not outcomes.any():
        raise ValueError("all outcomes are the same")
    if margins[outcomes].min() > margins[~outcomes].max() or margins[outcomes].max() < margins[~outcomes].min():
        raise ValueError("the margins tell the outcomes apart without error")
    features = np.stack([margins, np.ones_like(margins)], axis=1)
    line = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(features @ line, -500, 500)))
        gradient = features.T @ (p - outcomes)
        curvature = (features * (p * (1 - p))[:, None]).T @ features + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        line = line - step
        if np.abs(step).max() < _ENOUGH:
            break
    return float(line[0]), float(line[1])
