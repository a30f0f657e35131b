"""Whether arrays are a token trie as `trie.py` describes it, so that no search over them can fail or run in circles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.decoding.trie import TitleTrie

_MAX_DEPTH = 1 << 16


def check_trie(trie: TitleTrie) -> str:
    """Return what is wrong with the arrays of an index, "" if nothing is. Takes 0.1 s for a million titles."""
    n_nodes, n_items = trie.n_nodes, trie.n_items
    lengths = [len(trie.first_child) - 1, len(trie.first_item)]
    if lengths != [n_nodes, n_nodes] or {len(trie.by_row), len(trie.namesakes)} != {n_items}:
        return "its arrays are not of one trie"
    if n_items < 1 or n_nodes < 2:
        return "it has no items"
    return _check_rows(trie) or _check_children(trie) or _check_items(trie)


def _check_rows(trie: TitleTrie) -> str:
    if not 0 <= int(trie.by_row.min()) <= int(trie.by_row.max()) < trie.n_items:
        return "by_row has positions that do not exist"
    in_order = trie.rows[trie.by_row]
    return "" if bool((in_order[1:] > in_order[:-1]).all()) else "by_row is not the order of the rows"


def _check_children(trie: TitleTrie) -> str:
    """Breadth-first, the children of a node come after it and after those of the node before it."""
    first, n_nodes = trie.first_child, trie.n_nodes
    if int(first[0]) != 1 or int(first[-1]) != n_nodes or not bool((first[1:] >= first[:-1]).all()):
        return "the children of its nodes do not lie side by side"
    if not bool((first[:-1] > np.arange(n_nodes)).all()):
        return "a node is its own child"
    if int(trie.tokens[1:].min()) < 0:
        return "it has a token that does not exist"
    rising = np.empty(n_nodes, bool)
    rising[1:] = trie.tokens[1:] > trie.tokens[:-1]
    rising[first[:-1][first[:-1] < n_nodes]] = True  # the first child of a node follows no sibling
    return "" if bool(rising[1:].all()) else "the children of a node are not in the order of their tokens"


def _check_items(trie: TitleTrie) -> str:
    """The items of children, which are never none, lie in those of their parent, in the same order."""
    first_child, first_item = trie.first_child, trie.first_item
    if int(first_item[0]) != 0:
        return "its items do not begin at the root"
    low, ends = 0, np.array([trie.n_items], np.int64)
    starts: NDArray[np.int64] = np.zeros(1, np.int64)
    for _ in range(_MAX_DEPTH):
        high = low + len(ends)
        children = slice(int(first_child[low]), int(first_child[high]))
        counts = np.diff(first_child[low : high + 1])
        own = first_item[children].astype(np.int64)
        if not len(own):
            return "" if children.start == trie.n_nodes else "not all of its nodes hang together"
        last = np.cumsum(counts)[counts > 0] - 1
        limits = np.append(own[1:], 0)
        limits[last] = ends[counts > 0]
        if not bool(((own >= np.repeat(starts, counts)) & (own < limits)).all()):
            return "the items of a node are not among those of its parent"
        low, starts, ends = children.start, own, limits
    return "it is too deep"
