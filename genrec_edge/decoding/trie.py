"""The token trie of a catalog: flat arrays, which `trie_files.py` keeps on the disk.

Items stand in the order of their token sequences ("positions"), so everything below a node is one range of positions,
and the items that end *at* a node come before those of its children. Three int32 arrays describe the nodes, numbered
breadth-first with the children of a node side by side:

    tokens[n]       the token on the edge into node n (the root, node 0, has none)
    first_child[n]  its children are first_child[n] .. first_child[n+1]
    first_item[n]   its items start here; the end is the next sibling's start, or the parent's end

`rows[p]` is the catalog row of position p, and `by_row` are the positions in the order of their rows. `namesakes[p]` is
a checksum of the canonical spelling of the title, without the year that tells it apart: items whose spellings hang
together have the same one, so that `trie_update.py` finds them without reading the catalog. The end-of-title token is
not stored. Knows nothing of models: any function from text to token ids will do; and nothing of SQLite: rows are
numbers.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import CatalogRow, CatalogRows, TokenId, TriePositions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from genrec_edge.coordinates import TriePosition


FORMAT = "genrec-edge/index@2"
_ITEMS_PER_LOOKUP = 256
"""With more items than this for each row, rows are looked up one by one; with fewer, all items are compared."""


@dataclass(frozen=True, slots=True)
class TrieKey:
    """What an index was made from: it serves exactly this catalog revision and this tokenizer."""

    revision: str
    tokenizer: str
    format: str = FORMAT


@dataclass(frozen=True, slots=True)
class Children:
    """The children of a node, in token order: node ids, edge tokens and item ranges, each (n_children,)."""

    nodes: NDArray[np.int64]
    tokens: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]


class TitleTrie:
    """A catalog's titles as a token trie. Read-only; shared freely between threads."""

    def __init__(
        self,
        tokens: NDArray[np.int32],
        first_child: NDArray[np.int32],
        first_item: NDArray[np.int32],
        rows: CatalogRows,
        by_row: TriePositions,
        namesakes: NDArray[np.uint32],
        key: TrieKey,
    ) -> None:
        self.tokens = tokens
        self.first_child = first_child
        self.first_item = first_item
        self.rows = rows
        self.by_row = by_row
        self.namesakes = namesakes
        self.key = key

    @property
    def n_items(self) -> int:
        """How many items the index holds: the length of every mask and bias."""
        return len(self.rows)

    @property
    def n_nodes(self) -> int:
        """How many trie nodes there are, the root included."""
        return len(self.tokens)

    def children(self, node: int, end: int) -> Children:
        """Return the children of `node`, whose items end at position `end`."""
        lo, hi = int(self.first_child[node]), int(self.first_child[node + 1])
        starts = self.first_item[lo:hi]
        ends = np.append(starts[1:], np.int32(end))[: hi - lo]
        return Children(np.arange(lo, hi), self.tokens[lo:hi], starts, ends)

    def own_items(self, node: int, end: int) -> range:
        """Return the positions of the items whose title ends at `node` (none for most nodes)."""
        lo, hi = int(self.first_child[node]), int(self.first_child[node + 1])
        return range(int(self.first_item[node]), int(self.first_item[lo]) if lo < hi else end)

    def row_at(self, position: TriePosition) -> CatalogRow:
        """Return the catalog row of the item at `position`."""
        return CatalogRow(int(self.rows[position]))

    def path(self, position: TriePosition) -> list[TokenId]:
        """Return the token ids of the title at `position`."""
        return [TokenId(int(self.tokens[node])) for node, _, _ in self.nodes_above(position)]

    def leaf(self, position: TriePosition) -> range:
        """Return the positions of all items that share the token sequence of `position`, itself included."""
        node, end = 0, self.n_items
        for node, _, end in self.nodes_above(position):  # noqa: B007 - the last one is meant
            pass
        return self.own_items(node, end)

    def nodes_above(self, position: TriePosition) -> Iterator[tuple[int, int, int]]:
        """Yield (node, start, end) of the nodes on the way to the item at `position`, its own last; not the root."""
        node, end = 0, self.n_items
        while position not in self.own_items(node, end):
            lo, hi = int(self.first_child[node]), int(self.first_child[node + 1])
            node = bisect.bisect_right(self.first_item, position, lo, hi) - 1
            end = int(self.first_item[node + 1]) if node + 1 < hi else end
            yield node, int(self.first_item[node]), end

    def positions(self, rows: CatalogRows) -> TriePositions:
        """Return the positions of catalog rows, in position order; rows the index does not hold are left out."""
        if len(rows) * _ITEMS_PER_LOOKUP > self.n_items:
            return TriePositions(np.flatnonzero(self.mask(rows)))
        places = np.searchsorted(self.rows, rows, sorter=self.by_row)
        found = self.by_row[np.minimum(places, self.n_items - 1)]
        return TriePositions(np.unique(found[self.rows[found] == rows]))

    def mask(self, rows: CatalogRows) -> NDArray[np.bool_]:
        """Return which positions have one of these catalog rows, (n_items,)."""
        if len(rows) * _ITEMS_PER_LOOKUP > self.n_items:
            return np.isin(self.rows, rows)
        mask = np.zeros(self.n_items, bool)
        mask[self.positions(rows)] = True
        return mask
