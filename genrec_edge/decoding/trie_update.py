"""A title index brought up to date without tokenising the titles that did not change.

Items go out of the arrays and come into them; what is between stays in its order. Everything is found by walking down
the trie once for each item that goes or comes; the arrays are then cut and spliced whole. The result is, array for
array, what `index.build` makes of the new catalog.

Places are told in the numbers of the old index: a new node or item "at" n comes before the old one n, after what else
comes there earlier in the order of token sequences.
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
        rows: the catalog rows that changed, came or went.
        items: those of them that the catalog has now, as (row, title, year).
    """
    now = title_checksums([canonical(title) for _, title, _ in items])
    touched = np.union1d(old.namesakes[old.positions(rows)], now)
    maybe = np.zeros(_LOW + 1, bool)  # looked up by the low bits first: `isin` alone would sort all checksums
    maybe[touched & _LOW] = True
    near = np.flatnonzero(maybe[old.namesakes & _LOW])
    return CatalogRows(np.union1d(rows, old.rows[near[np.isin(old.namesakes[near], touched)]]))


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
        rows: what is taken out: all that `affected_rows` names.
        items: those of `rows` that the catalog has now, as (row, title, year).
        tokenize: text to token ids.
        key: what the new index is of.
        on_title: told how many titles of how many are tokenised.

    Raises:
        CatalogError: a title has no tokens.
    """
    spellings = [canonical(title) for _, title, _ in items]
    new_rows = CatalogRows(np.array([row for row, _, _ in items], np.int64))
    sequences = tokenize_titles(new_rows, disambiguate(spellings, [year for *_, year in items]), tokenize, on_title)
    order = sorted(range(len(items)), key=lambda i: (sequences[i], new_rows[i]))
    came = _AddedNodes(old)
    for item, i in enumerate(order):
        came.add(item, np.frombuffer(sequences[i], ">u4").tolist(), CatalogRow(int(new_rows[i])))
    went = _RemovedNodes(old, old.positions(rows), came.touched)
    nodes = _Splice(went.nodes, np.array([node.at for node in came.nodes], np.int64))
    places = _Splice(went.positions, np.array(came.places, np.int64))
    shift = _shift(old.n_items, places)
    return TitleTrie(
        nodes.of(old.tokens, [node.token for node in came.nodes]),
        _first_child(old, came, went, nodes),
        _first_item(old, came, nodes, places, shift),
        CatalogRows(places.of(old.rows, new_rows[order])),
        _by_row(old, new_rows, np.argsort(order), places, shift),
        places.of(old.namesakes, title_checksums(spellings)[order]),
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
    places: list[TriePosition] = field(default_factory=list)
    """Where each new item comes."""
    touched: dict[int, int] = field(default_factory=dict)
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
            self.touched.setdefault(node, item)
        depth = len(path) - 1
        self.places.append(self._place(path[-1], end, token_ids[depth:], row))
        # The nodes below the old ones that the item before has made are this one's too.
        shared = max(_common(self._token_ids, token_ids) - depth, 0)
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
    """The items that go, and the nodes that go with the last item below them."""

    def __init__(self, old: TitleTrie, positions: TriePositions, touched: dict[int, int]) -> None:
        self.positions = positions
        n_left: dict[int, int] = {}
        parents: dict[int, int] = {}
        for position in positions.tolist():
            above = 0
            for node, start, end in old.nodes_above(position):
                n_left[node] = n_left.get(node, end - start) - 1
                parents[node] = above
                above = node
        gone = sorted(node for node, n in n_left.items() if n == 0 and node not in touched)
        self.nodes = np.array(gone, np.int64)
        self.children_lost = Counter(parents[node] for node in gone)
        """Nodes whose children go, and how many; some of them go too."""


class _Splice:
    """What takes elements out of an array and puts others in, both at ascending places of the old array."""

    def __init__(self, out: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        self.out = out
        self.at = at
        self._at_of_kept = at - np.searchsorted(out, at)

    def of(self, array: NDArray[_T], values: Sequence[int] | NDArray[_T]) -> NDArray[_T]:
        """Return the array without what goes and with `values`, one for each place."""
        return np.insert(np.delete(array, self.out), self._at_of_kept, values)

    def new_places(self) -> NDArray[np.int64]:
        """Return where in the new array the values are."""
        return self._at_of_kept + np.arange(len(self.at))


def _first_child(old: TitleTrie, came: _AddedNodes, went: _RemovedNodes, nodes: _Splice) -> NDArray[np.int32]:
    n_children = np.diff(old.first_child)
    for node, n in came.grown.items():
        n_children[node] += n
    for node, n in went.children_lost.items():
        n_children[node] -= n
    n_children = nodes.of(n_children, [node.n_children for node in came.nodes])
    return np.concatenate([[1], 1 + np.cumsum(n_children)]).astype(np.int32)


def _shift(n_items: int, places: _Splice) -> NDArray[np.int32]:
    """Return by how much an item that stays moves, by its old place."""
    shift = np.bincount(places.at, minlength=n_items + 1).astype(np.int32)
    shift[places.out + 1] -= 1
    return np.cumsum(shift, dtype=np.int32)


def _first_item(
    old: TitleTrie, came: _AddedNodes, nodes: _Splice, places: _Splice, shift: NDArray[np.int32]
) -> NDArray[np.int32]:
    starts = old.first_item + shift[old.first_item]
    # What comes where the items of a node start comes before them, unless it belongs to the node.
    for node, item in came.touched.items():
        start = int(old.first_item[node])
        n_before = min(bisect.bisect_right(places.at, start), item)
        starts[node] = start - bisect.bisect_left(places.out, start) + n_before
    return nodes.of(starts, places.new_places()[[node.item for node in came.nodes]].astype(np.int32))


def _by_row(
    old: TitleTrie,
    new_rows: CatalogRows,
    rank: NDArray[np.int64],
    places: _Splice,
    shift: NDArray[np.int32],
) -> TriePositions:
    """Return the new positions by row; `rank` is which of the new items in token order each of `new_rows` is."""
    gone = np.sort(np.searchsorted(old.rows, old.rows[places.out], sorter=old.by_row))
    rows = _Splice(gone, np.searchsorted(old.rows, new_rows, sorter=old.by_row))
    return TriePositions(rows.of(old.by_row + shift[old.by_row], places.new_places()[rank]))


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


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many first elements two sequences share."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n
