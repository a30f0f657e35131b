"""One score of all that is known without the model: facts in common, liked sets, how well known an item is, own counts.

A log-linear mixture over the items j of a catalog after a history h, in nats:

    score(j) = a_f * facts(j) + a_l * log(.002 + liked(j)) + a_k * known(j)
             + a_s * log(2 + N * near(j)) + a_e * log(2 + N * ease(j)) + a_p * log(2 + N * popularity(j))
             + a_t * log(1e-5 + trend(j))

`facts` as in `facts.py`, `liked` as in `liked.py`, `known` from 0 to 1; `near` and `ease` are the shares of S_.5 and of
E in `model.py`, `popularity` the share of all events, `trend` that of the last four weeks (`trend.py`), all four of the
events of one's own users, N the number of items. What knows nothing of a history, or is not there at all, is the same
for all items and changes no order: no columns, no liked sets, no column `known`. `popularity` has a negative weight:
what stands beside a history counts as lift over what everybody meets. Without a history it is left out.

The weights were fitted by conditional likelihood to open data, see "Films of today" in docs/training.md: `OPEN` to what
people liked next among what was popular that week, and to liked sets; `COUNTED` to the next item among all, and then
its weights of one's own events to that, to older items and to the choice among those of a week together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.prior.cross_fitting import leave_user_out
from genrec_edge.prior.model import ALPHA, DECAYS, SEEN_LOGPROB
from genrec_edge.prior.trend import log_trend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.prior.cross_fitting import CrossFitted
    from genrec_edge.prior.facts import FactIndex
    from genrec_edge.prior.liked import LikedSets
    from genrec_edge.prior.model import PriorCounts

LIKED_FLOOR = 0.002
SHARE_FLOOR = 2.0


PARTS = ("facts", "liked", "known", "near", "ease", "popularity", "trend")


@dataclass(frozen=True, slots=True)
class MixtureWeights:
    """a_f, a_l, a_k, a_s, a_e, a_p, a_t: nats for each nat of a part, and for `known` from 0 to 1."""

    facts: float = 0.91
    liked: float = 0.58
    known: float = 2.43
    near: float = 0.0
    ease: float = 0.0
    popularity: float = 0.0
    trend: float = 0.0


OPEN = MixtureWeights()
COUNTED = MixtureWeights(facts=0.56, liked=0.58, known=1.8, near=0.8, ease=0.06, popularity=-0.7, trend=0.6)
"""Where there are events of one's own users."""
TASTE = MixtureWeights(facts=0.4, liked=0.0, known=0.0, near=0.32, ease=0.13)
"""Fitted to which of the items of a week somebody chose; on the scale of a probability, as a teacher has to be."""
MIXTURES = {"mixture": COUNTED, "taste": TASTE}
"""By the names of teachers in recipes."""


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """What is known of the items of a catalog, by position; each part may be missing.

    Attributes:
        n_items: how many items there are.
        weights: of the parts.
        facts: of the same items.
        liked: sets of the same items.
        known: (n_items,) float64 from 0 to 1.
        counts: of one's own events.
        recent: (n_items,) how many of one's own events were with each item in the four weeks before the request.
    """

    n_items: int
    weights: MixtureWeights = OPEN
    facts: FactIndex | None = None
    liked: LikedSets | None = None
    known: NDArray[np.float64] | None = None
    counts: PriorCounts | None = None
    recent: NDArray[np.int64] | None = None

    def used_weights(self) -> dict[str, float]:
        """Return the weights of the parts that are there, by name."""
        has_counts = self.counts is not None
        there = {
            "facts": self.facts is not None,
            "liked": self.liked is not None,
            "known": self.known is not None,
            "near": has_counts,
            "ease": has_counts,
            "popularity": has_counts,
            "trend": self.recent is not None,
        }
        return {name: weight for name, weight in asdict(self.weights).items() if weight and there[name]}

    def parts(self, history: Sequence[int]) -> dict[str, NDArray[np.float64]]:
        """Return what each part that is there gives each item after a history of positions, oldest first.

        They are weighted, in nats, and their names are those of `MixtureWeights`.
        """
        parts = self._parts_without_counts(history)
        if self.counts is not None and len(history):
            items = np.array(history, np.int64)
            newest_first = items[::-1]
            scale = np.maximum(self.counts.events[newest_first], 1) ** ALPHA
            near = self.counts.cooccurrence.sums(newest_first, DECAYS[0] ** np.arange(len(items))[None] / scale)[0]
            parts |= self._counted_parts(near, self.counts.ease.scores(np.unique(items)), self.counts.events)
        return parts

    def log_prob(self, history: Sequence[int]) -> NDArray[np.float64]:
        """Return the log-probability of each item after a history of positions, oldest first: (n_items,), finite.

        The probabilities of the items outside of the history sum to one; those of the history get `SEEN_LOGPROB`.
        """
        scores = sum(self.parts(history).values(), np.zeros(self.n_items))
        return normalised(scores, np.array(history, np.int64))

    def cross_fitted(self, histories: Sequence[NDArray[np.int32]]) -> CrossFitted:
        """Return the function (user, history, start) that a model is trained with, as `cross_fitting.cross_fitted`.

        `counts`, and the first group of `liked`, were made of `histories`, one set for each; the user's own are left
        out.
        """
        without_user = None if self.counts is None else leave_user_out(self.counts, histories)

        def log_probs(user: int, history: NDArray[np.integer], start: int) -> NDArray[np.float32]:
            sums = None if without_user is None else without_user(user, history, start)[0]
            own = np.bincount(histories[user], minlength=self.n_items)
            events = np.zeros(self.n_items) if self.counts is None else self.counts.events - own
            rows = np.empty((len(history) - start, self.n_items), np.float32)
            for row, position in enumerate(range(start, len(history))):
                before = history[:position]
                parts = self._parts_without_counts(before.tolist(), user)
                if sums is not None and position:
                    parts |= self._counted_parts(sums[row, 0], sums[row, -1], events)
                scores = sum(parts.values(), np.zeros(self.n_items))
                rows[row] = normalised(scores, before.astype(np.int64))
            return rows

        return log_probs

    def _parts_without_counts(self, history: Sequence[int], left_out: int = -1) -> dict[str, NDArray[np.float64]]:
        weights = self.weights
        parts: dict[str, NDArray[np.float64]] = {}
        if self.facts is not None and weights.facts:
            parts["facts"] = weights.facts * self.facts.scores(history)
        if self.liked is not None and weights.liked:
            parts["liked"] = weights.liked * np.log(LIKED_FLOOR + self.liked.scores(history, left_out))
        if self.known is not None and weights.known:
            parts["known"] = weights.known * self.known
        if self.recent is not None and weights.trend:
            parts["trend"] = weights.trend * log_trend(self.recent)
        return parts

    def _counted_parts(
        self, near: NDArray[np.float64], ease: NDArray[np.float64], events: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        weights = self.weights
        parts = {"near": weights.near * self._log_share(near), "ease": weights.ease * self._log_share(ease)}
        if weights.popularity:
            parts["popularity"] = weights.popularity * self._log_share(events)
        return parts

    def _log_share(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        return np.log(SHARE_FLOOR + self.n_items * sums / max(float(sums.sum()), 1e-12))


def normalised(scores: NDArray[np.float64], history: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return scores as log-probabilities over the items outside of a history; its own items get `SEEN_LOGPROB`."""
    unseen = np.ones(len(scores), np.bool_)
    unseen[history] = False
    log_probs = scores - (np.logaddexp.reduce(scores[unseen]) if unseen.any() else 0.0)
    log_probs[history] = SEEN_LOGPROB
    return log_probs
