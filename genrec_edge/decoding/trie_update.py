"""A title index brought up to date without tokenising the titles that did not change.

Items are removed from the arrays and added to them; the rest keeps its order. Everything is found by walking down the
trie once for each item that is removed or added; the arrays are then cut and spliced whole. The result is, array for
array, what `trie_build.build` makes of the new catalog.

Where something is added is given in the numbers of the old index: a new node or item "at" n is put before the old one
n, after other new ones at n that precede it in the order of token sequences.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from genrec_edge.catalog.titles import canonical, disambiguate
from genrec_edge.coordinates import CatalogRow, CatalogRows, TriePosition, TriePositions
from genrec_edge.decoding.trie import TitleTrie
from genrec_edge.decoding.trie_build import title_checksums, tokenize_titles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.coordinates import TokenId
    from genrec_edge.decoding.trie import TrieKey
    from genrec_edge.decoding.trie_build import OnTitle, Tokenize, TrieItem

_T = TypeVar("_T", bound=np.generic)
_LOW = 0xFFFF


def affected_rows(old: TitleTrie, rows: CatalogRows, items: Sequence[TrieItem]) -> CatalogRows:
    """Return the rows whose spelling may depend on changed ones: these, and their namesakes before and after.

    Args:
        old: the index before the changes.
        rows: the catalog rows that were changed, added or removed.
        items: those of them that the catalog has now, as (row, title, year).
    """
    now = title_checksums([canonical(title) for _, title, _ in items])
    affected = np.union1d(old.namesakes[old.positions(rows)], now)
    may_match = np.zeros(_LOW + 1, bool)  # looked up by the low bits first: `isin` alone would sort all checksums
    may_match[affected & _LOW] = True
    candidates = np.flatnonzero(may_match[old.namesakes & _LOW])
    return CatalogRows(np.union1d(rows, old.rows[candidates[np.isin(old.namesakes[candidates], affected)]]))


def updated(
    old: TitleTrie,
    rows: CatalogRows,
    items: Sequence[TrieItem],
    tokenize: Tokenize,
    key: TrieKey,
    on_title: OnTitle = lambda _done, _total: None,
) -> TitleTrie:
    """Return the index in which `items` stand in the place of the catalog rows `rows`; `old` stays as it is.

    Args:
        old: an index with at least one item.
        rows: what is removed: all that `affected_rows` returned.
        items: those of `rows` that the catalog has now, as (row, title, year).
        tokenize: text to token ids.
        key: of the new index.
        on_title: called with the number of titles tokenised and of all.

    Raises:
        CatalogError: a title has no tokens.
    """
    spellings = [canonical(title) for _, title, _ in items]
    new_rows = CatalogRows(np.array([row for row, _, _ in items], np.int64))
    sequences = tokenize_titles(new_rows, disambiguate(spellings, [year for *_, year in items]), tokenize, on_title)
    order = sorted(range(len(items)), key=lambda i: (sequences[i], new_rows[i]))
    added = _AddedNodes(old)
    for item, i in enumerate(order):
        added.add(item, np.frombuffer(sequences[i], ">u4").tolist(), CatalogRow(int(new_rows[i])))
    removed = _RemovedNodes(old, old.positions(rows), added.affected)
    node_splice = _Splice(removed.nodes, np.array([node.at for node in added.nodes], np.int64))
    item_splice = _Splice(removed.positions, np.array(added.positions, np.int64))
    shift = _shift(old.n_items, item_splice)
    return TitleTrie(
        node_splice.apply(old.tokens, [node.token for node in added.nodes]),
        _first_child(old, added, removed, node_splice),
        _first_item(old, added, node_splice, item_splice, shift),
        CatalogRows(item_splice.apply(old.rows, new_rows[order])),
        _by_row(old, new_rows, np.argsort(order), item_splice, shift),
        item_splice.apply(old.namesakes, title_checksums(spellings)[order]),
        key,
    )


@dataclass(slots=True)
class _NewNode:
    """A new node: where it comes, its token, the first of the new items below it, its children (all of them new)."""

    at: int
    token: TokenId
    item: int
    n_children: int = 0


@dataclass(slots=True)
class _AddedNodes:
    """The new items, added in the order of their token sequences, and the nodes they need."""

    old: TitleTrie
    positions: list[TriePosition] = field(default_factory=list)
    """The old position that each new item is put before."""
    affected: dict[int, int] = field(default_factory=dict)
    """Old nodes with new items below them, and the first of these."""
    grown: Counter[int] = field(default_factory=Counter)
    """Old nodes with new children, and how many."""
    _levels: defaultdict[int, list[_NewNode]] = field(default_factory=lambda: defaultdict(list))
    _token_ids: list[TokenId] = field(default_factory=list)
    _branch: list[_NewNode] = field(default_factory=list)

    @property
    def nodes(self) -> list[_NewNode]:
        """The new nodes, breadth first."""
        return [node for depth in sorted(self._levels) for node in self._levels[depth]]

    def add(self, item: int, token_ids: list[TokenId], row: CatalogRow) -> None:
        """Add the new item of this number, which has no smaller token ids than the one before."""
        path, end = _known_path(self.old, token_ids)
        for node in path:
            self.affected.setdefault(node, item)
        depth = len(path) - 1
        self.positions.append(self._place(path[-1], end, token_ids[depth:], row))
        # The nodes below the old ones that the item before has made are this one's too.
        shared = max(_n_common(self._token_ids, token_ids) - depth, 0)
        self._branch = self._branch[:shared] if shared else []
        for level in range(depth + shared, len(token_ids)):
            token = token_ids[level]
            if self._branch:
                parent = self._branch[-1]
                parent.n_children += 1
                at = int(self.old.first_child[parent.at])
            else:
                self.grown[path[-1]] += 1
                at = self._child_at(path[-1], token)
            self._branch.append(_NewNode(at, token, item))
            self._levels[level].append(self._branch[-1])
        self._token_ids = token_ids

    def _child_at(self, node: int, token: TokenId) -> int:
        lo, hi = int(self.old.first_child[node]), int(self.old.first_child[node + 1])
        return bisect.bisect_left(self.old.tokens, token, lo, hi)

    def _place(self, node: int, end: int, rest: list[TokenId], row: CatalogRow) -> TriePosition:
        """Return where an item comes whose token ids are those of `node` and `rest`; no child has `rest[0]`."""
        if not rest:
            own = self.old.own_items(node, end)
            return TriePosition(bisect.bisect_left(self.old.rows, row, own.start, own.stop))
        child = self._child_at(node, rest[0])
        return TriePosition(int(self.old.first_item[child]) if child < int(self.old.first_child[node + 1]) else end)


class _RemovedNodes:
    """The items that are removed, and the nodes without an item below them afterwards."""

    def __init__(self, old: TitleTrie, positions: TriePositions, affected: dict[int, int]) -> None:
        self.positions = positions
        n_left: dict[int, int] = {}
        parents: dict[int, int] = {}
        for position in positions.tolist():
            above = 0
            for node, start, end in old.nodes_above(position):
                n_left[node] = n_left.get(node, end - start) - 1
                parents[node] = above
                above = node
        removed_nodes = sorted(node for node, n in n_left.items() if n == 0 and node not in affected)
        self.nodes = np.array(removed_nodes, np.int64)
        self.children_lost = Counter(parents[node] for node in removed_nodes)
        """Nodes that lose children, and how many; some of these nodes are removed, too."""


class _Splice:
    """Removes elements of an array and adds others, both at ascending places of the old array."""

    def __init__(self, out: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        self.out = out
        self.at = at
        self._at_of_kept = at - np.searchsorted(out, at)

    def apply(self, array: NDArray[_T], values: Sequence[int] | NDArray[_T]) -> NDArray[_T]:
        """Return the array without what is removed and with `values`, one for each place in `at`."""
        return np.insert(np.delete(array, self.out), self._at_of_kept, values)

    def new_places(self) -> NDArray[np.int64]:
        """Return where the values are in the new array."""
        return self._at_of_kept + np.arange(len(self.at))


def _first_child(old: TitleTrie, added: _AddedNodes, removed: _RemovedNodes, node_splice: _Splice) -> NDArray[np.int32]:
    n_children = np.diff(old.first_child)
    for node, n in added.grown.items():
        n_children[node] += n
    for node, n in removed.children_lost.items():
        n_children[node] -= n
    n_children = node_splice.apply(n_children, [node.n_children for node in added.nodes])
    return np.concatenate([[1], 1 + np.cumsum(n_children)]).astype(np.int32)


def _shift(n_items: int, item_splice: _Splice) -> NDArray[np.int32]:
    """Return by how much each item that stays moves, by its old position."""
    shift = np.bincount(item_splice.at, minlength=n_items + 1).astype(np.int32)
    shift[item_splice.out + 1] -= 1
    return np.cumsum(shift, dtype=np.int32)


def _first_item(
    old: TitleTrie, added: _AddedNodes, node_splice: _Splice, item_splice: _Splice, shift: NDArray[np.int32]
) -> NDArray[np.int32]:
    starts = old.first_item + shift[old.first_item]
    # What is added where the items of a node start is put before them, unless it belongs to the node.
    for node, item in added.affected.items():
        start = int(old.first_item[node])
        n_before = min(bisect.bisect_right(item_splice.at, start), item)
        starts[node] = start - bisect.bisect_left(item_splice.out, start) + n_before
    return node_splice.apply(starts, item_splice.new_places()[[node.item for node in added.nodes]].astype(np.int32))


def _by_row(
    old: TitleTrie,
    new_rows: CatalogRows,
    rank: NDArray[np.int64],
    item_splice: _Splice,
    shift: NDArray[np.int32],
) -> TriePositions:
    """Return the new positions by row; `rank` is which of the new items in token order each of `new_rows` is."""
    removed_places = np.sort(np.searchsorted(old.rows, old.rows[item_splice.out], sorter=old.by_row))
    rows = _Splice(removed_places, np.searchsorted(old.rows, new_rows, sorter=old.by_row))
    return TriePositions(rows.apply(old.by_row + shift[old.by_row], item_splice.new_places()[rank]))


def _known_path(old: TitleTrie, token_ids: list[TokenId]) -> tuple[list[int], int]:
    """Return the old nodes on the way along token ids, the root first, and where the items of the last end."""
    path, end = [0], old.n_items
    for token in token_ids:
        lo, hi = int(old.first_child[path[-1]]), int(old.first_child[path[-1] + 1])
        child = bisect.bisect_left(old.tokens, token, lo, hi)
        if child == hi or int(old.tokens[child]) != token:
            break
        end = int(old.first_item[child + 1]) if child + 1 < hi else end
        path.append(child)
    return path, end


def _n_common(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many first elements two sequences share."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n
