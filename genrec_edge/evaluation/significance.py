"""Bootstrap intervals of means over users, and a paired test of two systems on the same users.

Seeded: the same values give the same figures. Knows numbers only.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_MAX_DRAWS = 1 << 20
"""Draws in memory at once: 8 MiB of indexes, for any number of users."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over users with its 95 % interval, `low` to `high`."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Return the three numbers, null for nan."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean difference per user between two systems, and its p-value.

    `p` is two-sided; it is 1 where no user differs.
    """

    difference: Estimate
    p: float


def estimate(values: NDArray[np.float64], *, resamples: int = 10_000, seed: int = 0) -> Estimate:
    """Return the mean of one value per user, (n_users,), with the percentile bootstrap's interval over users.

    Without users, all three are nan.
    """
    if not len(values):
        return Estimate(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    n = len(values)
    means = _in_blocks(lambda block: values[rng.integers(n, size=(block, n))].mean(axis=1), n, resamples)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def compare(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, resamples: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Compare two systems on the same users, (n_users,) each in the same order: ours minus theirs.

    A sign-flip permutation test: if the systems were equal, each user's difference could as well have the other sign.
    It assumes no distribution of the differences, most of which are 0 for these metrics, and its level holds for few
    users too, where a bootstrap's does not. For hit rates it is McNemar's exact test, apart from the sampling.
    """
    differences = ours - theirs
    nonzero = differences[differences != 0]
    rng = np.random.default_rng(seed)
    # Sums of the same numbers in another order differ in the last bits of the largest.
    observed = abs(nonzero.sum()) - 1e-12 * np.abs(nonzero).sum()
    sums = _in_blocks(lambda block: rng.choice((-1.0, 1.0), (block, len(nonzero))) @ nonzero, len(nonzero), resamples)
    p = (1 + np.count_nonzero(np.abs(sums) >= observed)) / (1 + resamples)
    return PairedDifference(estimate(differences, resamples=resamples, seed=seed), float(p))


def _in_blocks(draw: Callable[[int], NDArray[np.float64]], n: int, resamples: int) -> NDArray[np.float64]:
    """Return `resamples` statistics of n draws each, (resamples,), made a bounded number at a time."""
    block = max(1, _MAX_DRAWS // max(n, 1))
    return np.concatenate([draw(min(block, resamples - start)) for start in range(0, resamples, block)])
