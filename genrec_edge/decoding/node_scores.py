"""The scores of a trie node's children out of the model's logits: the two kinds of score, with or without a prior.

Knows tokens, logits and trie nodes; nothing of the order in which a search asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.engine.numerics import log_sum_exp
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.coordinates import TokenId
    from genrec_edge.decoding.child_prior import ChildPrior
    from genrec_edge.decoding.frontier import Prefix
    from genrec_edge.decoding.trie import Children, TitleTrie
    from genrec_edge.records import ScoreKind


@dataclass(frozen=True, slots=True, eq=False)
class NodeScores:
    """The scores of what can follow a node, each with what led to the node, in nats.

    Attributes:
        children: the node's children.
        child_logprobs: (n_children,) float64.
        own: the positions of the items whose title ends at the node, none for most.
        end_logprob: of the title that ends here; of no meaning if none does.
    """

    children: Children
    child_logprobs: NDArray[np.float64]
    own: range
    end_logprob: float


class NodeScorer:
    """Scores the steps of a search.

    Args:
        trie: the catalog's.
        end_id: the end-of-title token.
        kind: which score.
        prior: what the catalog score stands on, or None.

    Raises:
        UsageError: a prior with the vocabulary score.
    """

    def __init__(self, trie: TitleTrie, *, end_id: TokenId, kind: ScoreKind, prior: ChildPrior | None) -> None:
        if prior is not None and kind != "catalog":
            raise UsageError(
                f"the {kind} score cannot be combined with a prior below the logits",
                hint="use the catalog score, or give `prior_weight` to add the prior as a bias",
            )
        self._trie = trie
        self._end_id = end_id
        self._kind = kind
        self._prior = prior

    def needed_logits(self, node: int) -> NDArray[np.int32] | None:
        """Return the tokens whose logits `score` needs after a node: its children's and the end's, or None for all."""
        if self._kind == "vocabulary":
            return None
        first_child = self._trie.first_child
        children = self._trie.tokens[int(first_child[node]) : int(first_child[node + 1])]
        return np.append(children, np.int32(self._end_id))

    def score(self, prefix: Prefix, logits: NDArray[np.float32]) -> NodeScores:
        """Return the scores of what can follow a prefix from the logits after it that `needed_logits` names.

        Raises:
            EngineError: the logits are not finite.
        """
        node, end, so_far = prefix.node, prefix.end, prefix.logprob
        children, own = self._trie.children(node, end), self._trie.own_items(node, end)
        if self._kind == "vocabulary":
            norm = log_sum_exp(logits)
            child_logits, end_logit = logits[children.tokens].astype(np.float64), float(logits[self._end_id])
            return NodeScores(children, so_far + child_logits - norm, own, so_far + end_logit - norm)
        child_logits, end_logit = logits[:-1].astype(np.float64), float(logits[-1])
        if self._prior is not None:
            child_logits = self._prior.child_logits(child_logits, children.starts, end)
            end_logit = self._prior.end_logit(end_logit, own) if own else end_logit
        norm = log_sum_exp(np.append(child_logits, end_logit) if own else child_logits)
        return NodeScores(children, so_far + child_logits - norm, own, so_far + end_logit - norm)

    def shares(self, own: range) -> NDArray[np.float64]:
        """Return the share of each item of a leaf in the title's probability."""
        return np.full(len(own), 1 / len(own)) if self._prior is None else self._prior.shares(own)
