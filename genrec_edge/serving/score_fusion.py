"""What is added to a model's scores: a counted prior, facts in common, a correction of what is liked without a history.

A prior enters in one of two ways. Below the logits of the catalog score (`decoder.ChildPrior`), where the model was
tuned to say what counting does not know; its training record has tau and lambda. Or as a bias: `weight` times the
prior's log-probability of an item, for any model and either kind of score. Biases as well are a weight times what an
item has in common with the history by its columns (`prior.facts`), and the correction: minus alpha times the
log-probability of a title after an empty history.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from genrec_edge.coordinates import CatalogRows
from genrec_edge.decoding.child_prior import ChildPrior
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.gguf.training_keys import TRAIN_PREFIX
from genrec_edge.prior.bind import bind
from genrec_edge.prior.facts import LATEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.coordinates import TriePosition
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.options import OpenOptions
    from genrec_edge.prior.bind import BoundPrior
    from genrec_edge.prior.db import ItemPrior
    from genrec_edge.prior.facts import FactIndex
    from genrec_edge.records import PriorKind, ScoreKind

DEFAULT_WEIGHT = 4.0
"""Of 1, 2, 4 and 8 the one with the best NDCG@10 of the default model on the validation items of ML-100K."""


@dataclass(frozen=True, slots=True)
class PriorUse:
    """A prior and how it enters: as a bias of `weight`, or below logits with `tau` and `lambda_` if that is None."""

    path: Path
    kind: PriorKind
    weight: float | None
    tau: float = 1.0
    lambda_: float = 0.0


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
    if path is None or kind == "none":
        if kind in {"popularity", "sequence"} or weight is not None:
            raise UsageError("`prior_kind` or `prior_weight` is given, and no prior", hint="name it with `prior`")
        if learned is not None and kind is None and score == "catalog":
            raise UsageError(
                "this model was tuned to add to a counted prior, and none is given",
                hint="name it with `prior`, or set `prior_kind` to none",
            )
        return None
    if weight is None and learned is not None and kind != "popularity" and score == "catalog":
        return PriorUse(Path(path), "sequence", None, *learned)
    return PriorUse(Path(path), kind or "sequence", DEFAULT_WEIGHT if weight is None else weight)


def learned_on_prior(record: Mapping[str, object]) -> tuple[float, float] | None:
    """Return tau and lambda of a model that was tuned on a prior, None for other models.

    Raises:
        ModelInvalidError: it was, and its record does not say which.
    """
    if record.get(f"{TRAIN_PREFIX}objective") != "residual":
        return None
    tau, lambda_ = record.get(f"{TRAIN_PREFIX}tau"), record.get(f"{TRAIN_PREFIX}lambda")
    if isinstance(tau, float) and isinstance(lambda_, float) and math.isfinite(tau) and math.isfinite(lambda_):
        return tau, lambda_
    message = f"the model was tuned to add to a counted prior, but not with numbers: tau {tau!r}, lambda {lambda_!r}"
    raise ModelInvalidError(message, hint="train or convert it again, or give `prior_weight`")


@dataclass(frozen=True, slots=True, eq=False)
class FusedScores:
    """What one search is given beside the model: (n_items,) each, by position of the trie, or None."""

    bias: NDArray[np.float64]
    below: ChildPrior | None
    log_prior: NDArray[np.float64] | None
    facts: NDArray[np.float64] | None = None
    """The part of the bias that facts in common with the history are."""

    @classmethod
    def of_prior(cls, log_prior: NDArray[np.float64], weight: float | None, tau: float, lambda_: float) -> FusedScores:
        """Return what a prior adds: a bias of `weight` times its logs, or a `ChildPrior` where that is None.

        `log_prior` is the log-probability of each item, (n_items,) nats, finite.
        """
        if weight is not None:
            return cls(weight * log_prior, None, log_prior)
        return cls(np.zeros(len(log_prior)), ChildPrior(np.exp(log_prior), tau, lambda_), log_prior)

    def prior_of(self, position: TriePosition) -> float | None:
        """Return the log-probability of one item by the prior, if there is one."""
        return None if self.log_prior is None else float(self.log_prior[position])

    def facts_of(self, position: TriePosition) -> float | None:
        """Return what facts in common with the history add to one item, in nats, if they are used."""
        return None if self.facts is None else float(self.facts[position])

    def with_facts(self, nats: NDArray[np.float64]) -> Self:
        """Return these scores and what facts in common add, (n_items,) nats."""
        return replace(self, bias=self.bias + nats, facts=nats)


@dataclass(frozen=True, slots=True, eq=False)
class FactTerm:
    """What items have in common with a history as a part of their score: `weight` times the nats of an index."""

    weight: float
    index: FactIndex
    trie: TitleTrie

    def nats(self, history_rows: CatalogRows) -> NDArray[np.float64]:
        """Return what is added to each item after a history of catalog rows, oldest first, (n_items,).

        Raises:
            LookupError: the trie does not have one of the rows that count.
        """
        latest = history_rows[-LATEST:]  # each comes once
        positions = [self.trie.positions(CatalogRows(latest[i : i + 1])) for i in range(len(latest))]
        if not all(map(len, positions)):
            raise LookupError("a title of the history is not in the title index")
        return self.weight * self.index.scores([int(found[0]) for found in positions])


@dataclass(frozen=True, slots=True, eq=False)
class ScoreFusion:
    """A prior bound to the trie of a catalog, how it is used, facts, a calibration; all but the size may be missing.

    Attributes:
        n_items: of the trie.
        use: what `prior_use` says.
        prior: as it was read.
        bound: its items found in the catalog.
        facts: what items have in common with a history.
        unconditional: alpha, and the log-probability of each title after an empty history, (n_items,).
    """

    n_items: int
    use: PriorUse | None = None
    prior: ItemPrior | None = None
    bound: BoundPrior | None = None
    facts: FactTerm | None = None
    unconditional: tuple[float, NDArray[np.float64]] | None = None

    @classmethod
    def of(
        cls,
        use: PriorUse | None,
        prior: ItemPrior | None,
        catalog: Catalog,
        trie: TitleTrie,
        facts: FactTerm | None = None,
    ) -> Self:
        """Return the use of prior and facts for a catalog, uncalibrated; to be made anew when it has changed."""
        bound = None if prior is None else bind(prior, catalog, trie.rows)
        return cls(trie.n_items, use, prior, bound, facts)

    def after(self, history_rows: CatalogRows) -> FusedScores:
        """Return what is added to the scores after a history of catalog rows, oldest first."""
        fused = FusedScores(np.zeros(self.n_items), None, None)
        if self.use is not None and self.bound is not None:
            log_prior = self.bound.log_prob(history_rows, self.use.kind)
            fused = FusedScores.of_prior(log_prior, self.use.weight, self.use.tau, self.use.lambda_)
        if self.facts is not None:
            fused = fused.with_facts(self.facts.nats(history_rows))
        if self.unconditional is None:
            return fused
        alpha, logprobs = self.unconditional
        return replace(fused, bias=fused.bias - alpha * logprobs)

    def describe(self) -> dict[str, str | int | float | None]:
        """Return what a result says of it; nothing where nothing is added."""
        found: dict[str, str | int | float | None] = {}
        if self.use is not None and self.prior is not None and self.bound is not None:
            found |= {"prior": self.use.kind, "prior_data": self.prior.card.data}
            found |= {"prior_split": str(self.prior.card.split["split"])}
            found |= {"prior_events": int(self.prior.counts.events.sum()), "prior_dropped": self.bound.n_dropped}
            if self.use.weight is None:
                found |= {"prior_tau": self.use.tau, "prior_lambda": self.use.lambda_}
            else:
                found |= {"prior_weight": self.use.weight}
        if self.facts is not None:
            found |= {"facts_weight": self.facts.weight}
        return found | ({} if self.unconditional is None else {"calibrate": self.unconditional[0]})
