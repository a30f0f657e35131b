"""Compares the logits of two models: Kullback-Leibler divergence, top-1 agreement, largest difference.

Knows arrays of logits and functions that return them, not models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.engine.numerics import log_softmax
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Logits = Callable[[Sequence[int]], NDArray[np.float32]]
    """A function from n token ids to the logits after each of them, (n, n_vocab)."""

_CHUNK_ELEMENTS = 1 << 20
"""Logits per chunk of float64: a few arrays of 8 MiB, for any size of the vocabulary."""


@dataclass(frozen=True, slots=True)
class LogitAgreement:
    """How closely a model's next-token distributions agree with those of a reference.

    Attributes:
        n_positions: compared positions, including those with logits that are not finite.
        n_not_finite: positions where either model's logits are not finite. The values below leave them out; they are
            None when no others remain.
        mean_kl, max_kl: KL(reference || model), in nats.
        top1: the share of positions where both models have the same most likely token, 0..1.
        max_abs_diff: the largest absolute difference between two logits.
    """

    n_positions: int
    n_not_finite: int
    mean_kl: float | None
    max_kl: float | None
    top1: float | None
    max_abs_diff: float | None


class DivergenceAccumulator:
    """Accumulates a `LogitAgreement` over arrays of logits, without keeping them."""

    def __init__(self) -> None:
        self._n_positions = 0
        self._n_finite = 0
        self._n_same_top1 = 0
        self._kl_sum = 0.0
        self._kl_max = 0.0
        self._diff_max = 0.0

    def add(self, reference: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        """Add the positions of two (n, n_vocab) arrays.

        Raises:
            ModelInvalidError: the arrays have different shapes.
        """
        if reference.shape != other.shape:
            raise ModelInvalidError(
                f"the models cannot be compared: they have vocabularies of {reference.shape[-1]:,} and "
                f"{other.shape[-1]:,} tokens",
                hint="convert the model again",
            )
        step = max(1, _CHUNK_ELEMENTS // max(1, reference.shape[1]))
        for start in range(0, len(reference), step):
            self._add_chunk(reference[start : start + step], other[start : start + step])

    def agreement(self) -> LogitAgreement:
        """Return the agreement over everything added so far."""
        n = self._n_finite
        return LogitAgreement(
            n_positions=self._n_positions,
            n_not_finite=self._n_positions - n,
            mean_kl=self._kl_sum / n if n else None,
            max_kl=self._kl_max if n else None,
            top1=self._n_same_top1 / n if n else None,
            max_abs_diff=self._diff_max if n else None,
        )

    def _add_chunk(self, reference: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        self._n_positions += len(reference)
        finite = np.isfinite(reference).all(axis=1) & np.isfinite(other).all(axis=1)
        if not finite.any():
            return
        p, q = reference[finite].astype(np.float64), other[finite].astype(np.float64)
        self._n_finite += len(p)
        self._n_same_top1 += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())
        self._diff_max = max(self._diff_max, float(np.abs(p - q).max()))
        kl = kl_divergence(p, q)
        self._kl_sum += float(kl.sum())
        self._kl_max = max(self._kl_max, float(kl.max()))


def kl_divergence(p_logits: NDArray[np.float64], q_logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return KL(p || q) of each row in nats, (n,), never negative. The arguments are finite logits, (n, n_vocab)."""
    p, q = log_softmax(p_logits), log_softmax(q_logits)
    kl: NDArray[np.float64] = (np.exp(p) * (p - q)).sum(axis=1)
    return np.maximum(kl, 0.0)  # equal distributions can give -1e-17


def compare_logits(
    reference: Logits,
    other: Logits,
    sequences: Sequence[Sequence[int]],
    *,
    start: int,
    on_sequence: Callable[[int, int], object] = lambda _done, _total: None,
) -> LogitAgreement:
    """Run two models over the same sequences and return their agreement.

    Args:
        reference: the model whose distributions count as correct.
        other: the compared model.
        sequences: token ids.
        start: the first compared position of each sequence.
        on_sequence: called with the number of compared sequences and of all.
    """
    accumulator = DivergenceAccumulator()
    for done, token_ids in enumerate(sequences, start=1):
        accumulator.add(reference(token_ids)[start:], other(token_ids)[start:])
        on_sequence(done, len(sequences))
    return accumulator.agreement()
