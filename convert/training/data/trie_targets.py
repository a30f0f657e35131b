"""The targets of a title: the branching nodes of the catalog's trie on its path.

The catalog score of a title is the sum over these nodes of a log softmax over the node's children, so no other token
has to be trained on. Knows the trie; knows neither torch nor data sets.
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
        node_id: its number in the trie.
        tokens: (n_children,) int64, the token of each child; the end-of-title token comes last if a title ends here.
        starts: (n_children,) int64, the first trie position below each child.
        ends: (n_children,) int64, one past the last trie position below each child.
    """

    node_id: int
    tokens: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrieChoice:
    """A branching node on the path of a title, after `depth` of its tokens; `child` is the child on the path."""

    depth: int
    node: TrieNode
    child: int


class TrieTargets:
    """The branching nodes on the path of each title. Results are cached.

    Args:
        trie: the trie that scores are normalised over.
        end_id: the end-of-title token.
    """

    def __init__(self, trie: TitleTrie, end_id: int) -> None:
        self._trie = trie
        self._end_id = end_id
        self._nodes: dict[int, TrieNode] = {}
        self._choices: dict[int, tuple[TrieChoice, ...]] = {}

    def choices(self, trie_position: int) -> tuple[TrieChoice, ...]:
        """Return the choices on the path of the title at a trie position, from the root on."""
        if trie_position not in self._choices:
            self._choices[trie_position] = tuple(self._walk(trie_position))
        return self._choices[trie_position]

    def _walk(self, trie_position: int) -> list[TrieChoice]:
        trie, choices = self._trie, []
        node_id, end, depth = 0, trie.n_items, 0
        while True:
            children, own_items = trie.children(node_id, end), trie.own_items(node_id, end)
            if len(children.tokens) + bool(own_items) > 1:
                node = self._node(node_id, end)
                is_below = (node.starts <= trie_position) & (trie_position < node.ends)
                choices.append(TrieChoice(depth, node, int(np.flatnonzero(is_below)[0])))
            if trie_position in own_items:
                return choices
            child = int(np.searchsorted(children.starts, trie_position, side="right")) - 1
            node_id, end, depth = int(children.nodes[child]), int(children.ends[child]), depth + 1

    def _node(self, node_id: int, end: int) -> TrieNode:
        if node_id not in self._nodes:
            children, own_items = self._trie.children(node_id, end), self._trie.own_items(node_id, end)
            tokens, starts, ends = children.tokens, children.starts, children.ends
            if own_items:
                tokens = np.append(tokens, self._end_id)
                starts = np.append(starts, own_items.start)
                ends = np.append(ends, own_items.stop)
            self._nodes[node_id] = TrieNode(
                node_id, tokens.astype(np.int64), starts.astype(np.int64), ends.astype(np.int64)
            )
        return self._nodes[node_id]
