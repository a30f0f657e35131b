"""Logits to log-probabilities, without overflow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def log_sum_exp(logits: NDArray[np.float32] | NDArray[np.float64]) -> float:
    """Return the natural log of the sum of the exponentials of logits, (n,); added up in float64.

    Raises:
        EngineError: the largest of them is not a finite number.
    """
    top = float(logits.max())
    if not math.isfinite(top):
        raise EngineError(
            "the model's logits are not numbers",
            hint="check the model file with `genrec-edge models verify`",
        )
    return top + math.log(float(np.exp(logits - top).sum(dtype=np.float64)))


def log_softmax(logits: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return natural-log probabilities of logits along the last axis: (..., n) float64, computed in float64."""
    exact = logits.astype(np.float64)
    shifted = exact - exact.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each log-odds; beyond 500 of either sign it stays the same."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))
