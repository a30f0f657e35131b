"""The scores of a node's children: both kinds, and on top of a prior, by their definition."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.coordinates import TokenId
from genrec_edge.decoding.child_prior import ChildPrior
from genrec_edge.decoding.frontier import Prefix
from genrec_edge.decoding.node_scores import NodeScorer
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.errors import EngineError, UsageError
from tests.support.coordinates import numbered, token_list

if TYPE_CHECKING:
    from numpy.typing import NDArray

END = TokenId(9)
TITLES = ["a", "ab", "abc", "ac", "b"]
LOGITS = np.linspace(-2, 3, 10).astype(np.float32)
SO_FAR = -0.75


@pytest.fixture(scope="module")
def trie() -> TitleTrie:
    return build(numbered(TITLES), lambda text: token_list("abc".index(c) for c in text), TrieKey("r", "t"))


def prefix_a(trie: TitleTrie) -> Prefix:
    """Return the node of "a", where a title ends and two children begin."""
    node, _, end = next(trie.nodes_above(trie.positions(trie.rows)[0]))
    return Prefix(0, (TokenId(0),), node, end, SO_FAR)


def log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values - np.log(np.exp(values).sum()))


def test_the_vocabulary_score_is_a_softmax_over_all_tokens(trie: TitleTrie) -> None:
    scorer = NodeScorer(trie, end_id=END, kind="vocabulary", prior=None)
    assert scorer.needed_logits(0) is None
    scores = scorer.score(prefix_a(trie), LOGITS)
    expected = SO_FAR + log_softmax(LOGITS.astype(np.float64))
    assert scores.children.tokens.tolist() == [1, 2]
    assert scores.child_logprobs.tolist() == pytest.approx(expected[[1, 2]])
    assert scores.end_logprob == pytest.approx(expected[END])
    assert list(scores.own) == [0]


@pytest.mark.parametrize("on_prior", [False, True])
def test_the_catalog_score_is_a_softmax_over_the_children_and_the_end(trie: TitleTrie, on_prior: bool) -> None:
    mass = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    prior = ChildPrior(mass, tau=0.5, lambda_=2.0) if on_prior else None
    scorer, prefix = NodeScorer(trie, end_id=END, kind="catalog", prior=prior), prefix_a(trie)
    needed = scorer.needed_logits(prefix.node)
    assert needed is not None
    assert needed.tolist() == [1, 2, END]
    scores = scorer.score(prefix, LOGITS[needed])
    logits = LOGITS[needed].astype(np.float64)
    if on_prior:  # "ab" and "abc" below the first child, "ac" below the second, "a" itself at the end
        logits = 0.5 * logits + 2.0 * np.log([0.2 + 0.3, 0.25, 0.1])
    expected = SO_FAR + log_softmax(logits)
    assert [*scores.child_logprobs.tolist(), scores.end_logprob] == pytest.approx(expected.tolist())


def test_a_node_without_a_title_has_no_end_in_its_softmax(trie: TitleTrie) -> None:
    scorer = NodeScorer(trie, end_id=END, kind="catalog", prior=None)
    root = Prefix(0, (), 0, trie.n_items, 0.0)
    scores = scorer.score(root, np.array([1.0, 2.0, 50.0], np.float32))
    assert not scores.own
    assert math.fsum(np.exp(scores.child_logprobs)) == pytest.approx(1)


def test_items_of_one_leaf_share_by_their_prior_or_else_equally(trie: TitleTrie) -> None:
    prior = ChildPrior(np.array([0.1, 0.3, 0.2, 0.2, 0.2]), 1.0, 1.0)
    assert NodeScorer(trie, end_id=END, kind="catalog", prior=prior).shares(range(2)).tolist() == pytest.approx(
        [0.25, 0.75]
    )
    assert NodeScorer(trie, end_id=END, kind="catalog", prior=None).shares(range(2)).tolist() == [0.5, 0.5]


def test_what_cannot_be_scored_is_an_error(trie: TitleTrie) -> None:
    with pytest.raises(UsageError, match="cannot be combined with a prior"):
        NodeScorer(trie, end_id=END, kind="vocabulary", prior=ChildPrior(np.ones(5), 1.0, 1.0))
    scorer = NodeScorer(trie, end_id=END, kind="vocabulary", prior=None)
    with pytest.raises(EngineError, match="not numbers"):
        scorer.score(prefix_a(trie), np.full(10, np.nan, np.float32))
