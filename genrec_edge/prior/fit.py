"""The coefficients of the sequence prior under which the training histories are the likeliest.

Every history is explained by the others alone: a prior that had counted what it explains would trust its counts too
much. Few places of each history are enough for so few numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import UsageError
from genrec_edge.prior.model import DEFAULT, Coefficients, PriorCounts, features, own_left_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Objective = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]

_PLACES_EACH = 4
_MAX_VALUES = 40_000_000
"""Of the features in memory, 4 bytes each."""
_BLOCK = 64
_MAX_STEPS = 60
_GAIN = 1e-6
"""Nats: a step that gains less is the last."""
_LARGEST_LOG = 20.0
"""Of a floor, either way: none is needed beyond, and its exponential stays a number."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The coefficients, and the nats an item costs with them and with the default ones."""

    coefficients: Coefficients
    nats: float
    default_nats: float


def fit(histories: Sequence[NDArray[np.int32]], n_items: int, seed: int = 0) -> Fitted:
    """Return the coefficients of most likelihood.

    Args:
        histories: item indexes, oldest first.
        n_items: of the catalog.
        seed: of the places that are looked at.

    Raises:
        UsageError: no history has a place that counting the others says anything of.
    """
    counted, targets, unseen = _places(histories, n_items, np.random.default_rng(seed))

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        return _loss(parameters, counted, targets, unseen)

    start = np.concatenate([DEFAULT.weights, DEFAULT.log_floors])
    found, value = minimise(loss, start)
    n = len(found) // 2
    weights, log_floors = found[:n].tolist(), np.clip(found[n:], -_LARGEST_LOG, _LARGEST_LOG).tolist()
    return Fitted(Coefficients(tuple(weights), tuple(log_floors)), value, loss(start)[0])


def _places(
    histories: Sequence[NDArray[np.int32]], n_items: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Return features (n, n_features, n_items), targets (n,) and which items are new (n, n_items), at places drawn."""
    left_out = own_left_out(PriorCounts.of(histories, n_items), histories)
    most = max(1, _MAX_VALUES // (n_items * len(DEFAULT.weights)))
    counted: list[NDArray[np.float32]] = []
    targets, unseen = [], []
    for user in rng.permutation(len(histories)).tolist():
        history = histories[user]
        drawn = rng.permutation(np.arange(1, len(history)))[:_PLACES_EACH]
        for place in sorted(drawn.tolist()):
            if history[place] in history[:place]:
                continue
            sums, events = left_out(user, history[: place + 1], place)
            if sums.any() and len(counted) < most:
                counted.append(features(sums, events)[0].astype(np.float32))
                targets.append(int(history[place]))
                unseen.append(~np.isin(np.arange(n_items), history[:place]))
        if len(counted) >= most:
            break
    if not counted:
        raise UsageError("no history can be explained by the others", hint="leave out --fit, or count more histories")
    return np.stack(counted), np.array(targets), np.stack(unseen)


def _loss(
    parameters: NDArray[np.float64],
    counted: NDArray[np.float32],
    targets: NDArray[np.int64],
    unseen: NDArray[np.bool_],
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean nats of the targets, and their derivatives by weights and logs of floors."""
    n = counted.shape[1]
    weights, log_floors = parameters[:n], np.clip(parameters[n:], -_LARGEST_LOG, _LARGEST_LOG)
    floors = np.exp(log_floors)[:, None]
    total, slope = 0.0, np.zeros(2 * n)
    for at in range(0, len(targets), _BLOCK):
        block = slice(at, at + _BLOCK)
        raised = counted[block] + floors
        logs = np.log(raised)
        scores = np.einsum("k,bkj->bj", weights, logs)
        scores[~unseen[block]] = -np.inf
        log_probs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        surprise = np.exp(log_probs)
        every = np.arange(len(log_probs))
        total -= log_probs[every, targets[block]].sum()
        surprise[every, targets[block]] -= 1
        slope[:n] += np.einsum("bj,bkj->k", surprise, logs)
        slope[n:] += weights * np.einsum("bj,bkj->k", surprise, floors / raised)
    return float(total / len(targets)), slope / len(targets)


def minimise(objective: Objective, start: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return where a smooth function is least near `start`, and its value there, by BFGS with halved steps.

    `objective` returns value and gradient. Source: Nocedal and Wright, Numerical Optimization, algorithm 6.1.
    """
    place = start
    value, slope = objective(place)
    inverse = np.eye(len(start))  # of the second derivatives
    for _ in range(_MAX_STEPS):
        step = -inverse @ slope
        gain = -float(slope @ step)
        while (new := objective(place + step))[0] > value - 1e-4 * gain and gain > _GAIN:
            step, gain = step / 2, gain / 2
        if value - new[0] < _GAIN:
            break
        change = new[1] - slope
        place = place + step
        value, slope = new
        if (curvature := float(step @ change)) > 0:
            left = np.eye(len(start)) - np.outer(step, change) / curvature
            inverse = left @ inverse @ left.T + np.outer(step, step) / curvature
    return place, value
