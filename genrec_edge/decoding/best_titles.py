"""The k best finished titles of a search."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

from genrec_edge.coordinates import TriePosition


@dataclass(frozen=True, slots=True, order=True)
class ScoredTitle:
    """A finished title: `score = logprob + bias`, in nats."""

    score: float
    order: int  # minus the position, so that of two equal scores the item with the lower position is the larger
    logprob: float
    bias: float

    @property
    def position(self) -> TriePosition:
        """The item's position in the trie."""
        return TriePosition(-self.order)


class TopK:
    """Keeps the k best of the titles it is given.

    Attributes:
        k: how many.
        threshold: the score that a title must exceed to be kept; -inf while there are fewer than k.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.threshold = -math.inf
        self._heap: list[ScoredTitle] = []  # the worst on top

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, position: int, logprob: float, bias: float) -> None:
        """Keep the title of an item if it is among the k best so far."""
        title = ScoredTitle(logprob + bias, -position, logprob, bias)
        if len(self._heap) < self.k:
            heapq.heappush(self._heap, title)
        elif title > self._heap[0]:
            heapq.heapreplace(self._heap, title)
        if len(self._heap) == self.k:
            self.threshold = self._heap[0].score

    def best_first(self) -> tuple[ScoredTitle, ...]:
        """Return what is kept, best first."""
        return tuple(sorted(self._heap, reverse=True))
