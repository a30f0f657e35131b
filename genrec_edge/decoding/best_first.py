"""Exact top-k search of a title trie under a language model: best first, in batches.

The score of a title is the sum of the log-probabilities of its tokens and of the end of the title, plus the item's
bias. Every step's log-probability is at most 0, so what a prefix has scored so far, plus the largest bias below it,
bounds every title below it. The search expands prefixes in the order of that bound and stops when the k-th best
finished title is at least as good as every bound left: the answer is then the true top k of all allowed items. When a
budget ends it first, a beam finishes the answer, and `gap` says how much better an item left out could be at most.

Two kinds of score (the model's manifest says which it was tuned for):
  vocabulary  log softmax over the whole vocabulary, end-of-title token included
  catalog     log softmax over what the trie allows next; a forced token costs nothing and is not scored

The catalog score can stand on a prior over the items: at each node the logits are then tau * logit + lambda * log(the
prior's mass below the child), the end of the title being one more child, of its own items. With tau 0 and lambda 1 a
title's probability is exactly its prior.

Items whose titles are token for token the same share their leaf's probability, by their prior if there is one, else
equally. Knows tokens and trie positions; neither texts nor llama.cpp.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Protocol

import numpy as np

from genrec_edge.coordinates import TokenId
from genrec_edge.decoding.best_titles import TopK
from genrec_edge.decoding.frontier import Frontier, Prefix, Siblings
from genrec_edge.decoding.node_scores import NodeScorer
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import MAX_RUN, TokenRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from genrec_edge.decoding.best_titles import ScoredTitle
    from genrec_edge.decoding.child_prior import ChildPrior
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.engine.evaluator import EngineUsage
    from genrec_edge.records import ScoreKind

WIDTH = 16
"""Prefixes expanded in one call of the model: what a larger batch saves, the prefixes that turn out not to be needed
cost. Measured on 2 cores with 8, 12, 16, 24, 32: searches of the default model take .99, .95, 1, 1.19, 1.32 of the time
with 16, those of SmolLM2-135M, which need eight times as many tokens, 1.12, 1.05, 1, .98, .99."""
BEAM_WIDTH = 16
_WIDTH_FOR_ALL = 32
"""Prefixes in one call if every one is needed: 600 titles take 15 s, 27 s with 16, and a fifth more tokens with 64,
because branches have to be given up."""


class Engine(Protocol):
    """What the search needs of an engine: see `engine.LlamaEngine`."""

    usage: EngineUsage

    def evaluate(
        self, runs: Sequence[TokenRun], worth: Callable[[int], float]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (node, the needed logits after its last token) for each run; keep the nodes of most worth."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What an exact search may spend: tokens given to the model, and seconds (None: no limit)."""

    tokens: int = 4000
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best items, best first. `gap` is 0 if `exact`, else how much better an item left out could be, in nats."""

    found: tuple[ScoredTitle, ...]
    exact: bool
    gap: float


class TrieSearch:
    """One request's search.

    Args:
        trie: the catalog's.
        engine: its prompt evaluated.
        end_id: the end-of-title token.
        kind: which score.
        bias: (n_items,) float64, added to each item's log-probability; -inf forbids the item.
        k: how many items; at most as many as are allowed.
        prior: what the catalog score stands on, or None.
        width: how many prefixes are expanded in one call of the model.

    Raises:
        UsageError: a prior with the vocabulary score.
    """

    def __init__(
        self,
        trie: TitleTrie,
        engine: Engine,
        *,
        end_id: TokenId,
        kind: ScoreKind,
        bias: NDArray[np.float64],
        k: int,
        prior: ChildPrior | None = None,
        width: int = WIDTH,
    ) -> None:
        self._scorer = NodeScorer(trie, end_id=end_id, kind=kind, prior=prior)
        self._trie = trie
        self._engine = engine
        self._follows_forced_tokens = kind == "catalog"
        self._bias = bias
        self._width = width
        self._tickets = count()
        self._frontier = Frontier(self._tickets)
        self._expanded: dict[int, Siblings] = {}  # by the engine's node that they hang below
        self._best = TopK(k)

    def exact(self, root_logits: NDArray[np.float32], budget: Budget) -> SearchResult:
        """Return the k best items, or the best found when the budget ends, completed by a beam to k.

        Args:
            root_logits: the logits after the prompt, (n_vocab,).
            budget: what the search may spend before the beam.
        """
        self._start(root_logits)
        first_token = self._engine.usage.tokens
        deadline = math.inf if budget.seconds is None else time.monotonic() + budget.seconds
        while self._frontier.bound > self._best.threshold:
            n_left = budget.tokens - (self._engine.usage.tokens - first_token)
            if n_left <= 0 or time.monotonic() >= deadline:
                self._complete(BEAM_WIDTH)
                break
            for siblings in self._expand(self._pop(self._frontier, min(self._width, n_left))):
                self._frontier.push(siblings, self._best.threshold)
        return self._result()

    def beam(self, root_logits: NDArray[np.float32], width: int = BEAM_WIDTH) -> SearchResult:
        """Return k items by beam search: fewer evaluations for a flat model, no promise that they are the best."""
        self._start(root_logits)
        self._complete(max(width, self._best.k))
        return self._result()

    def score_all(
        self, root_logits: NDArray[np.float32], on_title: Callable[[int, int], object] = lambda _done, _total: None
    ) -> NDArray[np.float64]:
        """Return the log-probability of every item, (n_items,), in a search for all of them.

        Deepest prefixes first: few are alive at a time, and the engine evaluates hardly anything twice.

        Args:
            root_logits: the logits after the prompt, (n_vocab,).
            on_title: called with the number of titles scored and the number of all, after each title.
        """
        self._start(root_logits)
        stack = [self._frontier]
        while stack:
            n_done = len(self._best)
            prefixes: list[Prefix] = []
            while stack and len(prefixes) < _WIDTH_FOR_ALL:
                prefixes += self._pop(stack[-1], _WIDTH_FOR_ALL - len(prefixes))
                if not stack[-1]:
                    stack.pop()
            for siblings in self._expand(prefixes):
                deeper = Frontier(self._tickets)
                deeper.push(siblings, self._best.threshold)
                stack.append(deeper)
            for n in range(n_done + 1, len(self._best) + 1):
                on_title(n, self._best.k)
        found = self._best.best_first()
        logprobs = np.empty(self._best.k)
        logprobs[[title.position for title in found]] = [title.logprob for title in found]
        return logprobs

    def _start(self, root_logits: NDArray[np.float32]) -> None:
        needed = self._scorer.needed_logits(0)
        root = Prefix(ROOT, (), 0, self._trie.n_items, 0.0)
        siblings = self._children(root, ROOT, root_logits if needed is None else root_logits[needed])
        self._frontier.push(siblings, self._best.threshold)

    def _result(self) -> SearchResult:
        gap = max(0.0, self._frontier.bound - self._best.threshold)
        return SearchResult(self._best.best_first(), exact=gap == 0.0, gap=gap)

    def _complete(self, width: int) -> None:
        """Walk the best prefixes down together, `width` at a time, until k items are finished.

        Every live prefix leads to an allowed item, and a beam that dies out starts again from the frontier, so the k
        items are found whenever k are allowed.
        """
        while len(self._best) < self._best.k and self._frontier:
            beam = self._pop(self._frontier, width)
            while beam:
                level = Frontier(self._tickets)
                for start in range(0, len(beam), self._width):
                    for siblings in self._expand(beam[start : start + self._width]):
                        level.push(siblings, self._best.threshold)
                beam = self._pop(level, width)
                self._frontier.merge(level)

    def _pop(self, frontier: Frontier, n: int) -> list[Prefix]:
        """Take the `n` best prefixes that can still matter; titles that need no evaluation are finished on the way."""
        prefixes: list[Prefix] = []
        while len(prefixes) < n and frontier.bound > self._best.threshold:
            siblings = frontier.pop()
            prefix = self._prefix(siblings, siblings.next)
            siblings.next += 1
            frontier.push(siblings, self._best.threshold)
            if self._follows_forced_tokens and not self._has_children(prefix.node):
                self._finish(self._trie.own_items(prefix.node, prefix.end), prefix.logprob)
            else:
                prefixes.append(prefix)
        return prefixes

    def _has_children(self, node: int) -> bool:
        return bool(self._trie.first_child[node] < self._trie.first_child[node + 1])

    def _prefix(self, siblings: Siblings, i: int) -> Prefix:
        """Return the i-th sibling, followed down under the catalog score as long as the trie leaves no choice.

        Those tokens cost no score and need no logits. Under the vocabulary score they do, and evaluating them before
        they are known to matter costs 8 % more tokens (runs of 2) to 17 % (runs of 4), and as much more time.
        """
        trie = self._trie
        node, end = int(siblings.nodes[i]), int(siblings.ends[i])
        token_ids = [TokenId(int(siblings.tokens[i]))]
        while self._follows_forced_tokens and len(token_ids) < MAX_RUN:
            child = int(trie.first_child[node])
            if int(trie.first_child[node + 1]) - child != 1 or trie.first_item[child] != trie.first_item[node]:
                break
            node = child
            token_ids.append(TokenId(int(trie.tokens[node])))
        return Prefix(siblings.parent, tuple(token_ids), node, end, float(siblings.logprobs[i]))

    def _expand(self, prefixes: list[Prefix]) -> Iterator[Siblings]:
        """Evaluate prefixes, finish the titles that end at them, and yield their live children."""
        runs = [
            TokenRun(p.parent, p.token_ids, self._has_children(p.node), self._scorer.needed_logits(p.node))
            for p in prefixes
        ]
        for prefix, (kv_node, logits) in zip(prefixes, self._engine.evaluate(runs, self._worth), strict=True):
            yield self._children(prefix, kv_node, logits)

    def _worth(self, kv_node: int) -> float:
        """Return the best bound left below an evaluated prefix: the search will not come back to the least."""
        siblings = self._expanded.get(kv_node)
        return -math.inf if siblings is None else siblings.bound

    def _children(self, prefix: Prefix, kv_node: int, logits: NDArray[np.float32]) -> Siblings:
        """Finish the titles that end at an evaluated prefix and return its children that can still matter."""
        scores = self._scorer.score(prefix, logits)
        if scores.own:
            self._finish(scores.own, scores.end_logprob)
        children, bounds = scores.children, scores.child_logprobs
        if len(children.nodes):
            start = scores.own.stop
            bounds = bounds + np.maximum.reduceat(self._bias[start : prefix.end], children.starts - start)
        live = np.flatnonzero(bounds > self._best.threshold)
        live = live[np.argsort(-bounds[live], kind="stable")]
        siblings = Siblings(
            kv_node,
            bounds[live].tolist(),
            scores.child_logprobs[live],
            children.nodes[live],
            children.tokens[live],
            children.ends[live],
        )
        self._expanded[kv_node] = siblings
        return siblings

    def _finish(self, own: range, logprob: float) -> None:
        """Enter the items at positions `own` into the answer; they share the title's probability."""
        logprobs = logprob + np.log(self._scorer.shares(own))
        for position, share in zip(own, logprobs.tolist(), strict=True):
            bias = float(self._bias[position])
            if bias != -math.inf:
                self._best.add(position, share, bias)
