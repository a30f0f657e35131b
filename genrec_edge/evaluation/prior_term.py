"""An item prior as a part of the score of a model's search in an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.evaluation.ranker import scores_at
from genrec_edge.serving.score_fusion import FusedScores, LearnedPrior

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PriorTerm:
    """A term of the score of an item: `weight` times the log-probability of the item after the history.

    Attributes:
        name: of the prior, in tables.
        log_prob: from a history to (n_items,), finite, in nats.
        weight: None puts the prior below the logits of a model that was tuned with it; other models ignore it. A
            model that was tuned with a mixture has it below its logits with any weight.
    """

    name: str
    log_prob: Callable[[NDArray[np.int32]], NDArray[np.float64]]
    weight: float | None

    def fused_scores(
        self, history: NDArray[np.int32], item_at: NDArray[np.int32], learned: LearnedPrior | None, at: float | None
    ) -> FusedScores:
        """Return what the prior adds after a history, by position of the trie.

        Args:
            history: item indexes, oldest first.
            item_at: (n_positions,) the item at each position of the trie.
            learned: the prior that a model was tuned with; None for other models.
            at: the time, in seconds, None where it is not known.

        Raises:
            ValueError: neither a weight nor a model that was tuned with a prior.
        """
        if self.weight is None and learned is None:
            raise ValueError("a prior without a weight needs a model that was tuned with it")
        weight = 1.0 if self.weight is None else self.weight
        log_prob = scores_at(self.log_prob, history, at)[item_at]
        return FusedScores.of_prior(log_prob, weight, learned if self.is_below(learned) else None)

    def is_below(self, learned: LearnedPrior | None) -> bool:
        """Return whether it goes below the logits of a model that was tuned as `learned` says."""
        is_mixture = self.name not in {"popularity", "sequence"}
        return learned is not None and (self.weight is None or (learned.kind == "mixture" and is_mixture))
