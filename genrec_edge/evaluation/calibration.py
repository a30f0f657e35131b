"""Calibration: how far probabilities are from frequencies, and a linear fit of log-odds. Knows numbers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.engine.numerics import sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15
"""Source: Guo et al. 2017, arXiv 1706.04599, section 4."""
_MAX_NEWTON_STEPS = 100
_TOLERANCE = 1e-10
_RIDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of one bin: how many, their mean, and the share with a positive outcome."""

    n: int
    predicted: float
    true: float


def reliability(probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> list[Bin]:
    """Return the non-empty bins of equal width, ascending; both arrays are (n,), probabilities 0..1."""
    which = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    return [
        Bin(int(inside.sum()), float(probabilities[inside].mean()), float(outcomes[inside].mean()))
        for number in range(BINS)
        if (inside := which == number).any()
    ]


def calibration_error(probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, 0..1: the mean distance of bins from the diagonal, weighted by size.

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    bins = reliability(probabilities, outcomes)
    return sum(b.n * abs(b.predicted - b.true) for b in bins) / len(outcomes)


def brier(probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> float:
    """Return the mean squared error of the probabilities, 0..1. Source: Brier 1950, Monthly Weather Review 78(1)."""
    return float(np.mean((probabilities - outcomes) ** 2))


def auc(scores: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, 0..1: the share of (positive, negative) pairs that the scores order rightly.

    Equal scores count half. nan without a positive or without a negative outcome.
    """
    positive, negative = scores[outcomes], np.sort(scores[~outcomes])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, side="left") + np.searchsorted(negative, positive, side="right")
    return float(below.mean() / 2 / len(negative))


def fit_line(margins: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the slope and offset for which sigmoid(slope * margin + offset) gives the outcomes maximum likelihood.

    Newton's method. Source: Platt 1999, "Probabilistic outputs for support vector machines", section 2.1.

    Raises:
        ValueError: all outcomes are the same, or a threshold separates them: there is no maximum.
    """
    if outcomes.all() or not outcomes.any():
        raise ValueError("all outcomes are the same")
    if margins[outcomes].min() > margins[~outcomes].max() or margins[outcomes].max() < margins[~outcomes].min():
        raise ValueError("the margins separate the outcomes without error")
    features = np.stack([margins, np.ones_like(margins)], axis=1)
    line = np.zeros(2)
    for _ in range(_MAX_NEWTON_STEPS):
        p = sigmoid(features @ line)
        gradient = features.T @ (p - outcomes)
        curvature = (features * (p * (1 - p))[:, None]).T @ features + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        line = line - step
        if np.abs(step).max() < _TOLERANCE:
            break
    return float(line[0]), float(line[1])
