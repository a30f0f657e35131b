"""Soft targets of one training sequence: the teacher's distribution at each title, verdict and pick.

The teacher is a counted prior over all titles. Knows no tokens and no tensors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.engine.numerics import sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NO_MATCH_SHARE = 0.02
"""Probability of all items together that do not match the words before: words and facts can be wrong."""
_MIN_UNSEEN_MASS = 1e-3


class SoftTargets:
    """The teacher's probabilities for one sequence. Titles are taken in the order of the sequence.

    Args:
        log_probs: (n_targets + 1, n_positions) float32 log-probabilities over trie positions: a row for each target
            title, and in the last row the user's next item after the sequence.
        history_positions: trie positions of the user's history.
        n_items: number of data-set items in the trie.
    """

    def __init__(self, log_probs: NDArray[np.float32], history_positions: NDArray[np.int64], n_items: int) -> None:
        self._log_probs = log_probs
        self._next_title = 0
        self._history_positions = history_positions
        self._n_unseen_items = n_items - len(history_positions)

    def take_title(self, matches: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """Return the log-probabilities of the next target title, (n_positions,), and move on to the one after it.

        With `matches`, (n_positions,), those that match share all but `_NO_MATCH_SHARE`, however few they are among
        however many titles.
        """
        row = self._log_probs[self._next_title]
        self._next_title += 1
        if matches is None or matches.all() or not matches.any():
            return np.asarray(row, np.float32)
        exact = row.astype(np.float64)
        fitting, others = np.logaddexp.reduce(exact[matches]), np.logaddexp.reduce(exact[~matches])
        moved = np.where(matches, math.log1p(-_NO_MATCH_SHARE) - fitting, math.log(_NO_MATCH_SHARE) - others)
        return np.asarray(exact + moved, np.float32)

    def positive_probability(self, position: int) -> float:
        """Return the probability that a title is the user's next item and not a sampled negative.

        Both are equally likely beforehand; negatives are uniform over the items outside the history.
        """
        share = math.exp(self._log_probs[-1][position]) / self._unseen_mass()
        return share / (share + 1 / self._n_unseen_items)

    def first_probability(self, first: int, second: int) -> float:
        """Return the probability that of two trie positions the first is the user's next item."""
        return float(sigmoid(np.float64(self._log_probs[-1][first]) - self._log_probs[-1][second]))

    def _unseen_mass(self) -> float:
        """Return the probability that the next item is not in the history."""
        seen = self._log_probs[-1][self._history_positions].astype(np.float64)
        return max(_MIN_UNSEEN_MASS, 1 - float(np.exp(seen).sum()))
