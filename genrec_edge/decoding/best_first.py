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

Items whose titles are token for token the same share their leaf's probability, by their prior where there is one, else
equally. Knows tokens, logits and item positions; neither texts nor llama.cpp.
"""

from __future__ import annotations

import heapq
import math
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Protocol

import numpy as np

from genrec_edge.coordinates import TokenId, TriePosition
from genrec_edge.engine.context import MAX_RUN, TokenRun
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.errors import EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.engine.context import EngineUsage
    from genrec_edge.records import ScoreKind

WIDTH = 16
"""Prefixes expanded in one call of the model: what a larger batch saves, the prefixes that turn out not to be needed
cost. Measured on 2 cores with 8, 12, 16, 24, 32: searches of the default model take .99, .95, 1, 1.19, 1.32 of the time
with 16, those of SmolLM2-135M, which need eight times as many tokens, 1.12, 1.05, 1, .98, .99."""
BEAM_WIDTH = 16
_WALK_WIDTH = 32
"""Prefixes in one call where every one is needed: 600 titles take 15 s, 27 s with 16, and a fifth more tokens with 64,
because branches have to be given up."""


class Scorer(Protocol):
    """What the search needs of an engine: see `engine.LlamaEngine`."""

    usage: EngineUsage

    def evaluate(
        self, runs: Sequence[TokenRun], worth: Callable[[int], float]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (node, logits after its last token, the wanted ones) for each run; keep the nodes of most worth."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What an exact search may spend: tokens given to the model, and seconds (None: no limit)."""

    tokens: int = 4000
    seconds: float | None = None


@dataclass(frozen=True, slots=True, order=True)
class ScoredTitle:
    """A finished title: `score = logprob + bias`, in nats; `position` is the item's place in the index."""

    score: float
    order: int  # minus the position, so that of two equal scores the first item is the larger Found
    logprob: float
    bias: float

    @property
    def position(self) -> TriePosition:
        """The item's place in the trie."""
        return TriePosition(-self.order)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best items, best first. `gap` is 0 when `exact`, else how much better an item left out could be, in nats."""

    found: tuple[ScoredTitle, ...]
    exact: bool
    gap: float


@dataclass(frozen=True, slots=True, eq=False)
class ChildPrior:
    """What the logits of the catalog score are added to.

    Attributes:
        mass: (n_items,) float64, the prior probability of each position of the index, positive.
        tau: factor of the logits.
        lambda_: factor of the logs of the masses.
    """

    mass: NDArray[np.float64]
    tau: float
    lambda_: float

    def children(self, logits: NDArray[np.float64], starts: NDArray[np.int32], end: int) -> NDArray[np.float64]:
        """Return the logits of children on top of the prior; their items begin at `starts`, the last's go to `end`."""
        if not len(starts):
            return logits
        mass = np.add.reduceat(self.mass[starts[0] : end], starts - starts[0])
        return np.asarray(self.tau * logits + self.lambda_ * np.log(mass))

    def end(self, logit: float, own: range) -> float:
        """Return the logit of the end of the title of the items `own` on top of the prior."""
        return self.tau * logit + self.lambda_ * math.log(self.mass[own.start : own.stop].sum())

    def shares(self, own: range) -> NDArray[np.float64]:
        """Return the share of each item of a leaf in its probability."""
        mass = self.mass[own.start : own.stop]
        return np.asarray(mass / mass.sum())


@dataclass(slots=True)
class _Siblings:
    """The live children of one evaluated prefix, best bound first; the heap holds them one at a time."""

    handle: int
    keys: NDArray[np.float64]
    logprobs: NDArray[np.float64]
    nodes: NDArray[np.int64]
    tokens: NDArray[np.int32]
    ends: NDArray[np.int32]
    next: int = 0


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A trie node to evaluate: the tokens that lead to it from `handle`, and its score so far."""

    handle: int
    token_ids: tuple[TokenId, ...]
    node: int
    end: int
    logprob: float


class TrieSearch:
    """One request's search.

    Args:
        index: the catalog's trie.
        scorer: the engine, its prompt evaluated.
        end_id: the end-of-title token.
        kind: which score.
        bias: (n_items,) float64, added to each item's log-probability; -inf forbids the item.
        k: how many items; at most as many as are allowed.
        prior: what the catalog score stands on, or None.
    """

    def __init__(
        self,
        index: TitleTrie,
        scorer: Scorer,
        *,
        end_id: TokenId,
        kind: ScoreKind,
        bias: NDArray[np.float64],
        k: int,
        prior: ChildPrior | None = None,
        width: int = WIDTH,
    ) -> None:
        if prior is not None and kind != "catalog":
            raise UsageError(f"the {kind} score cannot stand on a prior", hint="give the prior a weight instead")
        self._index = index
        self._scorer = scorer
        self._end_id = end_id
        self._kind = kind
        self._bias = bias
        self._k = k
        self._prior = prior
        self._width = width
        self._heap: list[tuple[float, int, _Siblings]] = []
        self._ticket = count()
        self._open: dict[int, _Siblings] = {}  # by the node they hang below
        self._best: list[ScoredTitle] = []  # a heap of the k best finished items, the worst on top

    def exact(self, root_row: NDArray[np.float32], budget: Budget) -> SearchResult:
        """Return the k best items, or the best found when the budget ends, completed by a beam to k."""
        self._start(root_row)
        first_token = self._scorer.usage.tokens
        deadline = math.inf if budget.seconds is None else time.monotonic() + budget.seconds
        while self._frontier() > self._threshold:
            left = budget.tokens - (self._scorer.usage.tokens - first_token)
            if left <= 0 or time.monotonic() >= deadline:
                self._complete(BEAM_WIDTH)
                break
            prefixes = self._pop(self._heap, min(self._width, left))
            for siblings in self._expand(prefixes):
                self._push(self._heap, siblings)
        return self._answer()

    def beam(self, root_row: NDArray[np.float32], width: int = BEAM_WIDTH) -> SearchResult:
        """Return k items by beam search: fewer evaluations for a flat model, no promise that they are the best."""
        self._start(root_row)
        self._complete(max(width, self._k))
        return self._answer()

    def score_all(
        self, root_row: NDArray[np.float32], on_title: Callable[[int, int], object] = lambda _done, _total: None
    ) -> NDArray[np.float64]:
        """Return the log-probability of every item, (n_items,), in a search for all of them.

        Deepest prefixes first: few are alive at a time, and the engine evaluates hardly anything twice. `on_title` is
        told how many of how many are done.
        """
        self._start(root_row)
        stack = [self._heap]
        while stack:
            n_done, prefixes = len(self._best), list[_Prefix]()
            while stack and len(prefixes) < _WALK_WIDTH:
                prefixes += self._pop(stack[-1], _WALK_WIDTH - len(prefixes))
                if not stack[-1]:
                    stack.pop()
            for siblings in self._expand(prefixes):
                deeper: list[tuple[float, int, _Siblings]] = []
                self._push(deeper, siblings)
                stack.append(deeper)
            for n in range(n_done + 1, len(self._best) + 1):
                on_title(n, self._k)
        logprobs = np.empty(self._k)
        logprobs[[found.position for found in self._best]] = [found.logprob for found in self._best]
        return logprobs

    def _start(self, root_row: NDArray[np.float32]) -> None:
        wanted = self._wanted(0)
        root = _Prefix(ROOT, (), 0, self._index.n_items, 0.0)
        self._push(self._heap, self._score_children(root, ROOT, root_row if wanted is None else root_row[wanted]))

    @property
    def _threshold(self) -> float:
        """What an item must beat to enter the answer."""
        return self._best[0].score if len(self._best) == self._k else -math.inf

    def _frontier(self) -> float:
        """The best bound of everything not yet expanded."""
        return -self._heap[0][0] if self._heap else -math.inf

    def _answer(self) -> SearchResult:
        found = tuple(sorted(self._best, reverse=True))
        gap = max(0.0, self._frontier() - self._threshold)
        return SearchResult(found, exact=gap == 0.0, gap=gap)

    def _complete(self, width: int) -> None:
        """Walk the best prefixes down together, `width` at a time, until k items are finished.

        Every live prefix leads to an allowed item, and a beam that dies out starts again from the frontier, so the k
        items are found whenever k are allowed.
        """
        while len(self._best) < self._k and self._heap:
            beam = self._pop(self._heap, width)
            while beam:
                level: list[tuple[float, int, _Siblings]] = []
                for at in range(0, len(beam), self._width):
                    for siblings in self._expand(beam[at : at + self._width]):
                        self._push(level, siblings)
                beam = self._pop(level, width)
                for entry in level:
                    heapq.heappush(self._heap, entry)

    def _push(self, heap: list[tuple[float, int, _Siblings]], siblings: _Siblings) -> None:
        if siblings.next < len(siblings.keys) and (key := siblings.keys[siblings.next]) > self._threshold:
            heapq.heappush(heap, (-float(key), next(self._ticket), siblings))

    def _pop(self, heap: list[tuple[float, int, _Siblings]], n: int) -> list[_Prefix]:
        """Take the `n` best prefixes that can still matter; titles that need no evaluation are finished on the way."""
        prefixes: list[_Prefix] = []
        while heap and len(prefixes) < n and -heap[0][0] > self._threshold:
            _, _, siblings = heapq.heappop(heap)
            prefix = self._prefix(siblings, siblings.next)
            siblings.next += 1
            self._push(heap, siblings)
            if self._kind == "catalog" and not self._has_children(prefix.node):
                self._finish(prefix.node, prefix.end, prefix.logprob)
            else:
                prefixes.append(prefix)
        return prefixes

    def _has_children(self, node: int) -> bool:
        return bool(self._index.first_child[node] < self._index.first_child[node + 1])

    def _prefix(self, siblings: _Siblings, i: int) -> _Prefix:
        """Return the i-th sibling, followed down under the catalog score as long as the trie leaves no choice.

        Those tokens cost no score and need no logits. Under the vocabulary score they do, and evaluating them before
        they are known to matter costs 8 % more tokens (runs of 2) to 17 % (runs of 4), and as much more time.
        """
        index = self._index
        node, end = int(siblings.nodes[i]), int(siblings.ends[i])
        tokens = [TokenId(int(siblings.tokens[i]))]
        while self._kind == "catalog" and len(tokens) < MAX_RUN:
            child = int(index.first_child[node])
            if int(index.first_child[node + 1]) - child != 1 or index.first_item[child] != index.first_item[node]:
                break
            node = child
            tokens.append(TokenId(int(index.tokens[node])))
        return _Prefix(siblings.handle, tuple(tokens), node, end, float(siblings.logprobs[i]))

    def _expand(self, prefixes: list[_Prefix]) -> Iterator[_Siblings]:
        """Evaluate prefixes, record the titles they finish, and yield their live children."""
        runs = [TokenRun(p.handle, p.token_ids, self._has_children(p.node), self._wanted(p.node)) for p in prefixes]
        for prefix, (handle, row) in zip(prefixes, self._scorer.evaluate(runs, self._worth), strict=True):
            yield self._score_children(prefix, handle, row)

    def _wanted(self, node: int) -> NDArray[np.int32] | None:
        """Return the tokens whose logits a node's score needs: its children's and the end's, or None for all."""
        if self._kind == "vocabulary":
            return None
        children = self._index.tokens[int(self._index.first_child[node]) : int(self._index.first_child[node + 1])]
        return np.append(children, np.int32(self._end_id))

    def _worth(self, handle: int) -> float:
        """Return the best bound left below an evaluated prefix: the search will not come back to the least."""
        siblings = self._open.get(handle)
        return float(siblings.keys[siblings.next]) if siblings and siblings.next < len(siblings.keys) else -math.inf

    def _score_children(self, prefix: _Prefix, handle: int, row: NDArray[np.float32]) -> _Siblings:
        """Finish the titles that end at a prefix and return its live children with their bounds.

        `row` are the logits that `_wanted` says.
        """
        node, end = prefix.node, prefix.end
        below, own = self._index.children(node, end), self._index.own_items(node, end)
        start = own.stop
        if self._kind == "vocabulary":
            logits, end_logit = row[below.tokens].astype(np.float64), float(row[self._end_id])
        else:
            logits, end_logit = row[:-1].astype(np.float64), float(row[-1])
        if self._prior is not None:
            logits = self._prior.children(logits, below.starts, end)
            end_logit = self._prior.end(end_logit, own) if own else end_logit
        if self._kind == "vocabulary":
            norm = _log_sum_exp(row)
        else:
            norm = _log_sum_exp(np.append(logits, end_logit) if own else logits)
        if own:
            self._finish(node, end, prefix.logprob + end_logit - norm)
        logprobs = prefix.logprob + logits - norm
        keys = logprobs
        if len(below.nodes):
            keys = logprobs + np.maximum.reduceat(self._bias[start:end], below.starts - start)
        live = np.flatnonzero(keys > self._threshold)
        live = live[np.argsort(-keys[live], kind="stable")]
        siblings = _Siblings(
            handle, keys[live], logprobs[live], below.nodes[live], below.tokens[live], below.ends[live]
        )
        self._open[handle] = siblings
        return siblings

    def _finish(self, node: int, end: int, logprob: float) -> None:
        """Enter the items that end at `node` into the answer, sharing the title's probability."""
        own = self._index.own_items(node, end)
        shares = np.full(len(own), 1 / len(own)) if self._prior is None else self._prior.shares(own)
        for position, share in zip(own, (logprob + np.log(shares)).tolist(), strict=True):
            bias = float(self._bias[position])
            if bias == -math.inf:
                continue
            found = ScoredTitle(share + bias, -position, share, bias)
            if len(self._best) < self._k:
                heapq.heappush(self._best, found)
            elif found > self._best[0]:
                heapq.heapreplace(self._best, found)


def _log_sum_exp(row: NDArray[np.float32] | NDArray[np.float64]) -> float:
    top = float(row.max())
    if not math.isfinite(top):
        raise EngineError("the model's logits are not numbers", hint="check the file: genrec-edge models verify")
    return top + math.log(float(np.exp(row - top).sum(dtype=np.float64)))
