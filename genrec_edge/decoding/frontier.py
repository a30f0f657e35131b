"""What a search has still to expand: the live children of evaluated prefixes, by the bound of what is below them."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.coordinates import TokenId


@dataclass(frozen=True, slots=True)
class Prefix:
    """A trie node to evaluate.

    Attributes:
        parent: the engine's node that the tokens hang below.
        token_ids: the tokens that lead from there to the trie node.
        node: the trie node.
        end: the position after the last item below it.
        logprob: its score so far, in nats.
    """

    parent: int
    token_ids: tuple[TokenId, ...]
    node: int
    end: int
    logprob: float


@dataclass(slots=True)
class Siblings:
    """The live children of one evaluated prefix, best bound first; a frontier holds them one at a time.

    Attributes:
        parent: the engine's node of the prefix.
        bounds: what no title below each child can exceed, in nats, descending; a list, which is faster to read.
        logprobs: (n,) the score of the child so far.
        nodes, tokens, ends: (n,) the children in the trie, as in `Children`.
        next: the first that was not yet taken.
    """

    parent: int
    bounds: list[float]
    logprobs: NDArray[np.float64]
    nodes: NDArray[np.int64]
    tokens: NDArray[np.int32]
    ends: NDArray[np.int32]
    next: int = 0

    @property
    def bound(self) -> float:
        """The best bound of those not yet taken, -inf if there are none."""
        return self.bounds[self.next] if self.next < len(self.bounds) else -math.inf


class Frontier:
    """A heap of siblings, the best bound on top; of equal bounds, what was pushed first.

    Args:
        tickets: numbers that ascend, shared by all frontiers of a search.
    """

    def __init__(self, tickets: Iterator[int]) -> None:
        self._tickets = tickets
        self._heap: list[tuple[float, int, Siblings]] = []

    def __bool__(self) -> bool:
        return bool(self._heap)

    @property
    def bound(self) -> float:
        """The best bound, -inf if the frontier is empty."""
        return -self._heap[0][0] if self._heap else -math.inf

    def push(self, siblings: Siblings, threshold: float) -> None:
        """Add what is left of some siblings, if any of it exceeds the threshold."""
        bound = siblings.bound
        if bound > threshold:
            heapq.heappush(self._heap, (-bound, next(self._tickets), siblings))

    def pop(self) -> Siblings:
        """Take away the siblings with the best bound; what is left of them has to be pushed again."""
        return heapq.heappop(self._heap)[2]

    def merge(self, other: Frontier) -> None:
        """Add everything that another frontier holds."""
        for entry in other._heap:
            heapq.heappush(self._heap, entry)
