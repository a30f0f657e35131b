"""What there is to learn at each title: the nodes of the catalog's trie where more than one continuation is possible.

The catalog score of a title is the sum over these nodes of a log softmax over their children alone, so they are all a
model has to be trained at. Knows the trie; neither torch nor data sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.decoding.trie import TitleTrie


@dataclass(frozen=True, slots=True, eq=False)
class TrieNode:
    """A branching node of the trie.

    Attributes:
        number: its number in the index.
        tokens: (n_children,) int64, what may come next; the end-of-title token last if a title ends here.
        starts: (n_children,) int64, the first position below each child.
        ends: (n_children,) int64, the position after the last one.
    """

    number: int
    tokens: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrieChoice:
    """A branching node on the path of a title: `depth` tokens of the title lead to it, `child` leads on."""

    depth: int
    node: TrieNode
    child: int


class TrieTargets:
    """The branching nodes on the way to each title.

    Args:
        index: the trie that the scores are normalised over.
        end_id: the end-of-title token.
    """

    def __init__(self, index: TitleTrie, end_id: int) -> None:
        self._index = index
        self._end_id = end_id
        self._nodes: dict[int, TrieNode] = {}
        self._choices: dict[int, tuple[TrieChoice, ...]] = {}

    def choices(self, position: int) -> tuple[TrieChoice, ...]:
        """Return the choices that lead to the title at a position of the index, from the root on."""
        if position not in self._choices:
            self._choices[position] = tuple(self._walk(position))
        return self._choices[position]

    def _walk(self, position: int) -> list[TrieChoice]:
        index, choices = self._index, []
        number, end, depth = 0, index.n_items, 0
        while True:
            below, own = index.children(number, end), index.own_items(number, end)
            if len(below.tokens) + bool(own) > 1:
                node = self._node(number, end)
                child = int(np.flatnonzero((node.starts <= position) & (position < node.ends))[0])
                choices.append(TrieChoice(depth, node, child))
            if position in own:
                return choices
            child = int(np.searchsorted(below.starts, position, side="right")) - 1
            number, end, depth = int(below.nodes[child]), int(below.ends[child]), depth + 1

    def _node(self, number: int, end: int) -> TrieNode:
        if number not in self._nodes:
            below, own = self._index.children(number, end), self._index.own_items(number, end)
            last = [[self._end_id], [own.start], [own.stop]] if own else [[], [], []]
            columns = zip((below.tokens, below.starts, below.ends), last, strict=True)
            tokens, starts, ends = (np.concatenate([column, extra]).astype(np.int64) for column, extra in columns)
            self._nodes[number] = TrieNode(number, tokens, starts, ends)
        return self._nodes[number]
