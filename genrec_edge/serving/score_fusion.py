"""What is added to a model's scores: what is known without it, and a correction of what is liked without a history.

What is known without the model is a prior over the items: the mixture of facts in common, liked sets, how well known
items are and own counts (`prior.mixture`), which is the default; or the counts of a file alone. It enters in one of two
ways. As a bias: `weight` times the prior's log-probability of an item, for any model and either kind of score. Or below
the logits of the catalog score (`decoding.child_prior`), where the model was tuned to say what the prior does not
know; its training record says which prior that was, tau and lambda. The correction is minus alpha times the
log-probability of a title after an empty history.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from genrec_edge.decoding.child_prior import ChildPrior
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.gguf.training_keys import TRAIN_PREFIX
from genrec_edge.prior.bind import bind
from genrec_edge.prior.mixture import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.coordinates import CatalogRows, TriePosition
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.options import OpenOptions
    from genrec_edge.prior.bind import BoundPrior
    from genrec_edge.prior.db import ItemPrior
    from genrec_edge.prior.mixture import Mixture
    from genrec_edge.records import PriorKind, ScoreKind

DEFAULT_WEIGHT = 4.0
"""For models that were tuned on titles, unless their record says better. Of 1, 2, 4 and 8 the one with the best NDCG@10
of the first default model on the validation items of ML-100K."""
WORDS_WEIGHT = 1.0
"""The most that a prior weighs, unless the caller says so, where the request has words: it knows nothing of them."""
_LEAST_LOG = -700.0
"""Of a mass below the logits, which has to be positive."""
UNTUNED_WEIGHT = 10.0
"""Of the mixture, for models that were never tuned on titles: their word counts for little."""


@dataclass(frozen=True, slots=True)
class LearnedPrior:
    """What a model was tuned to add to: a counted prior or a mixture, below the logits, with `tau` and `lambda_`."""

    kind: Literal["sequence", "mixture"]
    tau: float
    lambda_: float


@dataclass(frozen=True, slots=True)
class PriorUse:
    """A prior and how it enters: as a bias of `weight`, or below the logits as `learned` says.

    `path` is a file of own counts; None for a mixture without any. `weight` is a factor of the prior's logs in both
    ways; `words_weight` is that of a mixture where the request has words.
    """

    path: Path | None
    kind: PriorKind
    weight: float
    words_weight: float = WORDS_WEIGHT
    learned: LearnedPrior | None = None


def prior_use(options: OpenOptions, *, score: ScoreKind, record: Mapping[str, object]) -> PriorUse | None:
    """Return how the prior of these options is used, or None for not at all.

    Args:
        options: `prior`, `prior_kind` and `prior_weight`; without a weight, what the model was tuned for is taken,
            else `DEFAULT_WEIGHT`.
        score: the kind of score of the search.
        record: metadata of the adapter or the model, with what training left there.

    Raises:
        UsageError: the options do not fit each other, or a model that was tuned on a prior gets none.
        ModelInvalidError: the record of a model that was tuned on a prior does not say how.
    """
    path, kind, weight = options.prior, options.prior_kind, options.prior_weight
    learned = learned_on_prior(record)
    if kind == "none":
        if weight is not None:
            raise UsageError("`prior_weight` is given, and `prior_kind` is none", hint="leave one of them out")
        return None
    if path is None and kind in {"popularity", "sequence"}:
        raise UsageError(f"`prior_kind` is {kind}, and no prior is given", hint="name it with `prior`")
    used_path = None if path is None else Path(path)
    if learned is not None and learned.kind == "mixture" and score == "catalog" and kind in {None, "mixture"}:
        weight = learned_weight(record) if weight is None else weight
        return PriorUse(used_path, "mixture", weight, weight, learned)
    if learned is not None and learned.kind == "sequence" and score == "catalog":
        if path is None and kind is None:
            raise UsageError(
                "this model was tuned to add to a counted prior, and none is given",
                hint="name it with `prior`, or set `prior_kind` to none",
            )
        if weight is None and kind in {None, "sequence"} and path is not None:
            return PriorUse(used_path, "sequence", 1.0, learned=learned)
    if weight is not None:
        return PriorUse(used_path, kind or "mixture", weight, words_weight=weight)
    if kind in {"popularity", "sequence"}:
        return PriorUse(used_path, kind, DEFAULT_WEIGHT)
    weight = _weight_of(record)
    return PriorUse(used_path, "mixture", weight, words_weight=min(weight, WORDS_WEIGHT))


def learned_weight(record: Mapping[str, object]) -> float:
    """Return the weight of a mixture below the logits of a model: what its record says, else 1."""
    weight = _recorded_weight(record)
    return 1.0 if weight is None else weight


def _recorded_weight(record: Mapping[str, object]) -> float | None:
    weight = record.get(f"{TRAIN_PREFIX}prior_weight")
    return weight if isinstance(weight, float) and 0 <= weight < math.inf else None


def _weight_of(record: Mapping[str, object]) -> float:
    """Return the weight of a mixture beside a model: what its record says, else a default."""
    weight = _recorded_weight(record)
    if weight is not None:
        return weight
    return DEFAULT_WEIGHT if f"{TRAIN_PREFIX}objective" in record else UNTUNED_WEIGHT


def learned_on_prior(record: Mapping[str, object]) -> LearnedPrior | None:
    """Return the prior that a model was tuned on, None for other models.

    Raises:
        ModelInvalidError: it was, and its record does not say how.
    """
    if record.get(f"{TRAIN_PREFIX}objective") != "residual":
        return None
    kind: Literal["sequence", "mixture"] = "mixture" if record.get(f"{TRAIN_PREFIX}prior") == "mixture" else "sequence"
    tau, lambda_ = record.get(f"{TRAIN_PREFIX}tau"), record.get(f"{TRAIN_PREFIX}lambda")
    if isinstance(tau, float) and isinstance(lambda_, float) and math.isfinite(tau) and math.isfinite(lambda_):
        return LearnedPrior(kind, tau, lambda_)
    message = f"the model was tuned to add to a counted prior, but not with numbers: tau {tau!r}, lambda {lambda_!r}"
    raise ModelInvalidError(message, hint="train or convert it again, or give `prior_weight`")


@dataclass(frozen=True, slots=True, eq=False)
class FusedScores:
    """What one search is given beside the model: (n_items,) each, by position of the trie, or None.

    Attributes:
        bias: nats added to the score of each item.
        below: a prior below the logits.
        log_prior: the log-probability of each item by the prior.
        parts: what each part of a mixture gives each item, in nats of the bias, above what it gives to the mean item.
        unconditional: alpha, and the log-probability of each title without a history; the bias has minus their product.
    """

    bias: NDArray[np.float64]
    below: ChildPrior | None
    log_prior: NDArray[np.float64] | None
    parts: Mapping[str, NDArray[np.float64]]
    unconditional: tuple[float, NDArray[np.float64]] | None = None

    @classmethod
    def none(cls, n_items: int) -> Self:
        """Return scores that add nothing."""
        return cls(np.zeros(n_items), None, None, {})

    @classmethod
    def of_prior(cls, log_prior: NDArray[np.float64], weight: float, learned: LearnedPrior | None = None) -> Self:
        """Return what a prior adds: a bias of `weight` times its logs, or the same below the logits.

        `log_prior` is the log-probability of each item, (n_items,) nats, finite.
        """
        if learned is None:
            return cls(weight * log_prior, None, log_prior, {})
        tempered = log_prior if weight == 1 else weight * log_prior - np.logaddexp.reduce(weight * log_prior)
        mass = np.exp(np.maximum(tempered, _LEAST_LOG))
        return cls(np.zeros(len(log_prior)), ChildPrior(mass, learned.tau, learned.lambda_), log_prior, {})

    @classmethod
    def of_mixture(
        cls,
        parts: Mapping[str, NDArray[np.float64]],
        weight: float,
        n_items: int,
        history: Sequence[int] = (),
        learned: LearnedPrior | None = None,
    ) -> Self:
        """Return what a mixture adds, by its parts; nothing if they know nothing, unless the model was tuned on it.

        Below the logits, the positions of `history` get next to no probability, as in training.
        """
        if learned is None and all(np.ptp(nats) == 0 for nats in parts.values()):
            return cls.none(n_items)
        scores = sum(parts.values(), np.zeros(n_items))
        if learned is None:
            fused = cls.of_prior(scores - np.logaddexp.reduce(scores), weight)
        else:
            fused = cls.of_prior(normalised(scores, np.array(history, np.int64)), weight, learned)
            weight *= learned.lambda_
        return replace(fused, parts={name: weight * (nats - nats.mean()) for name, nats in parts.items()})

    def prior_of(self, position: TriePosition) -> float | None:
        """Return the log-probability of one item by the prior, if there is one."""
        return None if self.log_prior is None else float(self.log_prior[position])

    def taken_off_of(self, position: TriePosition) -> tuple[float, float]:
        """Return how much of what one item gets without a history is taken off, and that in nats; else noughts."""
        if self.unconditional is None:
            return 0.0, 0.0
        alpha, log_probs = self.unconditional
        return alpha, float(log_probs[position])

    def parts_of(self, position: TriePosition) -> dict[str, float]:
        """Return what each part of a mixture gives one item, in nats; empty without a mixture."""
        return {name: float(nats[position]) for name, nats in self.parts.items()}


@dataclass(frozen=True, slots=True, eq=False)
class ScoreFusion:
    """What is known without the model, bound to the trie of a catalog; all but the size may be missing.

    Attributes:
        n_items: of the trie.
        trie: whose positions the rest has.
        use: what `prior_use` says.
        prior: own counts, as they were read.
        bound: their items found in the catalog.
        mixture: with these counts, if `use` is of that kind.
        unconditional: alpha, and the log-probability of each title after an empty history, (n_items,).
    """

    n_items: int
    trie: TitleTrie
    use: PriorUse | None = None
    prior: ItemPrior | None = None
    bound: BoundPrior | None = None
    mixture: Mixture | None = None
    unconditional: tuple[float, NDArray[np.float64]] | None = None

    @classmethod
    def of(
        cls,
        use: PriorUse | None,
        prior: ItemPrior | None,
        catalog: Catalog,
        trie: TitleTrie,
        mixture_of: Callable[[BoundPrior | None], Mixture],
    ) -> Self:
        """Return the use of a prior for a catalog, uncalibrated; to be made anew when it has changed.

        `mixture_of` is called with the own counts, if there are any, where the use is a mixture.
        """
        bound = None if prior is None else bind(prior, catalog, trie.rows)
        mixture = mixture_of(bound) if use is not None and use.kind == "mixture" else None
        return cls(trie.n_items, trie, use, prior, bound, mixture)

    def after(self, history_rows: CatalogRows, *, has_words: bool = False) -> FusedScores:
        """Return what is added to the scores after a history of catalog rows, oldest first.

        `has_words` says whether the request has words beside it, of which a mixture knows nothing.

        Raises:
            LookupError: the trie does not have one of the rows.
        """
        fused = self._of_prior(history_rows, has_words=has_words)
        if self.unconditional is None:
            return fused
        alpha, logprobs = self.unconditional
        return replace(fused, bias=fused.bias - alpha * logprobs, unconditional=self.unconditional)

    def _of_prior(self, history_rows: CatalogRows, *, has_words: bool) -> FusedScores:
        use = self.use
        if use is not None and self.mixture is not None:
            history = self._positions(history_rows)
            weight = use.words_weight if has_words else use.weight
            return FusedScores.of_mixture(self.mixture.parts(history), weight, self.n_items, history, use.learned)
        if use is not None and self.bound is not None:
            return FusedScores.of_prior(self.bound.log_prob(history_rows, use.kind), use.weight, use.learned)
        return FusedScores.none(self.n_items)

    def _positions(self, history_rows: CatalogRows) -> list[int]:
        """Return the trie's positions of catalog rows, in their order."""
        positions = self.trie.positions(history_rows)
        position_of = dict(zip(self.trie.rows[positions].tolist(), positions.tolist(), strict=True))
        if not all(row in position_of for row in history_rows.tolist()):
            raise LookupError("a title of the history is not in the title index")
        return [position_of[row] for row in history_rows.tolist()]

    def describe(self) -> dict[str, str | int | float | None]:
        """Return what a result says of it; nothing where nothing is added."""
        found: dict[str, str | int | float | None] = {}
        if self.use is not None and (self.mixture is not None or self.bound is not None):
            found["prior"] = self.use.kind
            if self.mixture is not None:
                found |= {f"prior_{name}": weight for name, weight in self.mixture.used_weights().items()}
            if self.use.learned is not None:
                found |= {"prior_tau": self.use.learned.tau, "prior_lambda": self.use.learned.lambda_}
            if self.use.learned is None or self.mixture is not None:
                found |= {"prior_weight": self.use.weight}
        if self.prior is not None and self.bound is not None:
            found |= {"prior_data": self.prior.card.data, "prior_split": str(self.prior.card.split["split"])}
            found |= {"prior_events": int(self.prior.counts.events.sum()), "prior_dropped": self.bound.n_dropped}
        return found | ({} if self.unconditional is None else {"calibrate": self.unconditional[0]})
