"""Fits the coefficients of the sequence prior to histories, by maximum likelihood.

Every history is explained by the counts of the others, see `cross_fitting.py`. A few positions of each history are
enough for so few coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError
from genrec_edge.prior.cross_fitting import leave_user_out
from genrec_edge.prior.model import DEFAULT, Coefficients, PriorCounts, features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Objective = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]

_POSITIONS_PER_USER = 4
_MAX_VALUES = 40_000_000
"""Of the features in memory, 4 bytes each."""
_BLOCK = 64
"""Positions whose gradient is computed at once."""
_MAX_STEPS = 60
_MIN_GAIN = 1e-6
"""Nats: the search ends with a step that gains less."""
_MAX_LOG_FLOOR = 20.0
"""Limit of the absolute value of the log of a floor, so that its exponential stays finite."""


@dataclass(frozen=True, slots=True)
class FittedCoefficients:
    """Coefficients, and the mean nats per item with them and with the default ones."""

    coefficients: Coefficients
    nats: float
    default_nats: float


def fit(histories: Sequence[NDArray[np.int32]], n_items: int, seed: int = 0) -> FittedCoefficients:
    """Return the coefficients with the maximum likelihood.

    Args:
        histories: item indexes, oldest first.
        n_items: of the catalog.
        seed: of the positions that are drawn.

    Raises:
        UsageError: the other histories have counts for no position of any history.
    """
    values, targets, unseen = _positions(histories, n_items, np.random.default_rng(seed))

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        return _loss(parameters, values, targets, unseen)

    start = np.concatenate([DEFAULT.weights, DEFAULT.log_floors])
    best, value = minimise(loss, start)
    n = len(best) // 2
    weights, log_floors = best[:n].tolist(), np.clip(best[n:], -_MAX_LOG_FLOOR, _MAX_LOG_FLOOR).tolist()
    return FittedCoefficients(Coefficients(tuple(weights), tuple(log_floors)), value, loss(start)[0])


def _positions(
    histories: Sequence[NDArray[np.int32]], n_items: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Return features (n, n_features, n_items), targets (n,) and unseen items (n, n_items) at positions drawn."""
    without_user = leave_user_out(PriorCounts.of(histories, n_items), histories)
    max_positions = max(1, _MAX_VALUES // (n_items * len(DEFAULT.weights)))
    values: list[NDArray[np.float32]] = []
    targets, unseen = [], []
    for user in rng.permutation(len(histories)).tolist():
        history = histories[user]
        drawn = rng.permutation(np.arange(1, len(history)))[:_POSITIONS_PER_USER]
        for position in sorted(drawn.tolist()):
            if history[position] in history[:position]:
                continue
            sums, events = without_user(user, history[: position + 1], position)
            if sums.any() and len(values) < max_positions:
                values.append(features(sums, events)[0].astype(np.float32))
                targets.append(int(history[position]))
                unseen.append(~np.isin(np.arange(n_items), history[:position]))
        if len(values) >= max_positions:
            break
    if not values:
        raise UsageError("no history can be explained by the others", hint="leave out `fit`, or count more histories")
    return np.stack(values), np.array(targets), np.stack(unseen)


def _loss(
    parameters: NDArray[np.float64],
    values: NDArray[np.float32],
    targets: NDArray[np.int64],
    unseen: NDArray[np.bool_],
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean nats of the targets, and the gradient by weights and logs of floors."""
    n = values.shape[1]
    weights, log_floors = parameters[:n], np.clip(parameters[n:], -_MAX_LOG_FLOOR, _MAX_LOG_FLOOR)
    floors = np.exp(log_floors)[:, None]
    total, gradient = 0.0, np.zeros(2 * n)
    for start in range(0, len(targets), _BLOCK):
        block = slice(start, start + _BLOCK)
        floored = values[block] + floors
        logs = np.log(floored)
        scores = np.einsum("k,bkj->bj", weights, logs)
        scores[~unseen[block]] = -np.inf
        log_probs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        residual = np.exp(log_probs)
        rows = np.arange(len(log_probs))
        total -= log_probs[rows, targets[block]].sum()
        residual[rows, targets[block]] -= 1
        gradient[:n] += np.einsum("bj,bkj->k", residual, logs)
        gradient[n:] += weights * np.einsum("bj,bkj->k", residual, floors / floored)
    return float(total / len(targets)), gradient / len(targets)


def minimise(objective: Objective, start: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return a local minimum of a smooth function near `start`, and its value there, by BFGS with step halving.

    `objective` returns value and gradient. Source: Nocedal and Wright, Numerical Optimization, algorithm 6.1.
    """
    point = start
    value, gradient = objective(point)
    inverse_hessian = np.eye(len(start))
    for _ in range(_MAX_STEPS):
        step = -inverse_hessian @ gradient
        expected_gain = -float(gradient @ step)
        new_value, new_gradient = objective(point + step)
        while new_value > value - 1e-4 * expected_gain and expected_gain > _MIN_GAIN:
            step, expected_gain = step / 2, expected_gain / 2
            new_value, new_gradient = objective(point + step)
        if value - new_value < _MIN_GAIN:
            break
        change = new_gradient - gradient
        point = point + step
        value, gradient = new_value, new_gradient
        curvature = float(step @ change)
        if curvature > 0:
            left = np.eye(len(start)) - np.outer(step, change) / curvature
            inverse_hessian = left @ inverse_hessian @ left.T + np.outer(step, step) / curvature
    return point, value
