"""A prior over the items below the catalog score: what the logits of a trie node's children are added to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ChildPrior:
    """The prior of one request, and how much it and the model count.

    Attributes:
        mass: (n_items,) float64, the prior probability of the item at each trie position, positive.
        tau: factor of the logits.
        lambda_: factor of the logs of the masses.
    """

    mass: NDArray[np.float64]
    tau: float
    lambda_: float

    def child_logits(self, logits: NDArray[np.float64], starts: NDArray[np.int32], end: int) -> NDArray[np.float64]:
        """Return tau * logit + lambda * log(mass below) of each child of a node, (n_children,).

        Args:
            logits: the model's logits of the children, (n_children,).
            starts: the position at which the items of each child begin, (n_children,).
            end: the position after the items of the last child.
        """
        if not len(starts):
            return logits
        mass = np.add.reduceat(self.mass[starts[0] : end], starts - starts[0])
        return np.asarray(self.tau * logits + self.lambda_ * np.log(mass))

    def end_logit(self, logit: float, own: range) -> float:
        """Return the same of the end-of-title token after a node where the titles of the positions `own` end."""
        return self.tau * logit + self.lambda_ * math.log(self.mass[own.start : own.stop].sum())

    def shares(self, own: range) -> NDArray[np.float64]:
        """Return the share of each of the items `own`, which have the same tokens, in their title's probability."""
        mass = self.mass[own.start : own.stop]
        return np.asarray(mass / mass.sum())
