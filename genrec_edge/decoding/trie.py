"""The token trie of a catalog: flat arrays, memory-mapped from disk.

Items stand in the order of their token sequences ("positions"), so everything below a node is one range of positions,
and the items that end *at* a node come before those of its children. Three int32 arrays describe the nodes, numbered
breadth-first with the children of a node side by side:

    tokens[n]       the token on the edge into node n (the root, node 0, has none)
    first_child[n]  its children are first_child[n] .. first_child[n+1]
    first_item[n]   its items start here; the end is the next sibling's start, or the parent's end

`rows[p]` is the catalog row of position p, and `by_row` are the positions in the order of their rows. `namesakes[p]` is
a checksum of the canonical spelling of the title, without the year that tells it apart: items whose spellings hang
together have the same one, so that `index_update.py` finds them without reading the catalog. The end-of-title token is
not stored. Knows nothing of models: any function from text to token ids will do; and nothing of SQLite: rows are
numbers.
"""

from __future__ import annotations

import bisect
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.titles import canonical, disambiguate
from genrec_edge.coordinates import CatalogRow, CatalogRows, TokenId, TriePositions
from genrec_edge.errors import CatalogError
from genrec_edge.storage.files import disk_errors, sync
from genrec_edge.storage.folders import install, work_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.coordinates import TriePosition

    Item = tuple[CatalogRow, str, int | None]
    Tokenize = Callable[[str], list[TokenId]]
    OnTitle = Callable[[int, int], object]

FORMAT = "genrec-edge/index@2"
_ARRAYS = ("tokens", "first_child", "first_item", "rows", "by_row", "namesakes")
_CHUNK_TITLES = 256
"""What one thread tokenises before the progress is told: 20 ms."""
_FEW = 256
"""Fewer than one row of so many are looked up one by one; for more, all items are compared."""


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
        if len(rows) * _FEW > self.n_items:
            return TriePositions(np.flatnonzero(self.mask(rows)))
        places = np.searchsorted(self.rows, rows, sorter=self.by_row)
        found = self.by_row[np.minimum(places, self.n_items - 1)]
        return TriePositions(np.unique(found[self.rows[found] == rows]))

    def mask(self, rows: CatalogRows) -> NDArray[np.bool_]:
        """Return which positions have one of these catalog rows, (n_items,)."""
        if len(rows) * _FEW > self.n_items:
            return np.isin(self.rows, rows)
        mask = np.zeros(self.n_items, bool)
        mask[self.positions(rows)] = True
        return mask

    def save(self, path: Path) -> None:
        """Write the index as folder `path`, replacing what is there; a reader sees an index whole or none.

        Raises:
            DiskFullError: no room; what was there stays.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(path), work_folder(path.parent) as work:
            made = work / "made"
            made.mkdir()
            for name in _ARRAYS:
                np.save(made / f"{name}.npy", getattr(self, name), allow_pickle=False)
                sync(made / f"{name}.npy")
            (made / "key.json").write_text(json.dumps(asdict(self.key)), encoding="utf-8")
            sync(made / "key.json")
            install(made, path, replace=True)

    @classmethod
    def open(cls, path: Path) -> TitleTrie | None:
        """Return the memory-mapped index at `path`, or None when there is none that can be used."""
        try:
            key = TrieKey(**json.loads((path / "key.json").read_text(encoding="utf-8")))
            mapped = (np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS)
            # Still mapped, and several times faster to index than the np.memmap around it.
            tokens, first_child, first_item, rows, by_row, namesakes = (np.asarray(array) for array in mapped)
        except (OSError, ValueError, TypeError):
            return None  # an index is a cache: whatever is wrong with it, building it again is the remedy
        return cls(tokens, first_child, first_item, CatalogRows(rows), TriePositions(by_row), namesakes, key)


def build(
    items: Iterable[Item],
    tokenize: Tokenize,
    key: TrieKey,
    on_title: OnTitle = lambda _done, _total: None,
    n_threads: int = 1,
) -> TitleTrie:
    """Return the index of `items` (catalog row, title, year), tokenising every title alone.

    Args:
        items: in the order of their rows.
        tokenize: text to token ids; with several threads it is called by all of them.
        key: what the index is of.
        on_title: told how many titles of how many are tokenised, now and then, by the caller's thread alone.
        n_threads: how many tokenise.

    Raises:
        CatalogError: there are no items, or a title has no tokens.
    """
    rows, spellings, years = _columns(items)
    if not spellings:
        raise CatalogError("the catalog has no items to index")
    namesakes = checksums(spellings)
    spellings = disambiguate(spellings, years)
    sequences = tokenized(rows, spellings, tokenize, on_title, n_threads)
    del spellings, years  # a third of the memory that building takes, and sorting takes as much
    # Big-endian bytes compare like the token sequences, a prefix before its extensions; the sort is stable in rows.
    order = np.array(sorted(range(len(sequences)), key=sequences.__getitem__))
    lengths = np.fromiter((len(sequences[i]) // 4 for i in order), np.int64, len(order))
    flat = np.frombuffer(b"".join(sequences[i] for i in order), ">u4").astype(np.int32)
    del sequences
    sorted_rows = CatalogRows(rows[order])
    by_row = TriePositions(np.argsort(sorted_rows))
    return TitleTrie(*_trie(flat, lengths), sorted_rows, by_row, namesakes[order], key)


def checksums(spellings: Sequence[str]) -> NDArray[np.uint32]:
    """Return a checksum for each canonical spelling; different ones seldom share theirs, which costs only time."""
    sums = (zlib.crc32(spelling.encode(errors="replace")) for spelling in spellings)
    return np.fromiter(sums, np.uint32, len(spellings))


def tokenized(
    rows: CatalogRows,
    spellings: Sequence[str],
    tokenize: Tokenize,
    on_title: OnTitle = lambda _done, _total: None,
    n_threads: int = 1,
) -> list[bytes]:
    """Return the token ids of each spelling as big-endian bytes; `rows` name them where one has no tokens.

    Raises:
        CatalogError: a spelling has no tokens.
    """

    def work(start: int) -> list[bytes]:
        chunk = spellings[start : start + _CHUNK_TITLES]
        return [np.array(tokenize(spelling), dtype=">u4").tobytes() for spelling in chunk]

    sequences: list[bytes] = []
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for done in pool.map(work, range(0, len(spellings), _CHUNK_TITLES)):
                sequences += done
                on_title(len(sequences), len(spellings))
        except BaseException:  # Ctrl-C too: what has not begun is not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if b"" in sequences:
        raise CatalogError(f"the title of catalog row {rows[sequences.index(b'')]} has no tokens")
    return sequences


def _columns(items: Iterable[Item]) -> tuple[CatalogRows, list[str], list[int | None]]:
    """Return rows, canonical spellings and years of the items, without holding their titles."""
    rows: list[CatalogRow] = []
    spellings: list[str] = []
    years: list[int | None] = []
    for row, title, year in items:
        rows.append(row)
        spellings.append(canonical(title))
        years.append(year)
    return CatalogRows(np.array(rows, np.int64)), spellings, years


def _trie(
    flat: NDArray[np.int32], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return tokens, first_child and first_item of sorted sequences laid end to end, one depth at a time."""
    offsets = np.cumsum(lengths) - lengths
    node_of = np.zeros(len(lengths), np.int64)  # the deepest node built so far on each item's path
    active = np.arange(len(lengths))
    tokens, parents, first_items = [np.zeros(1, np.int32)], [np.empty(0, np.int64)], [np.zeros(1, np.int32)]
    n_nodes = 1
    for depth in range(int(lengths.max())):
        active = active[lengths[active] > depth]
        parent, token = node_of[active], flat[offsets[active] + depth]
        is_new = np.ones(len(active), bool)
        is_new[1:] = (parent[1:] != parent[:-1]) | (token[1:] != token[:-1])
        node_of[active] = n_nodes + np.cumsum(is_new) - 1
        tokens.append(token[is_new])
        parents.append(parent[is_new])
        first_items.append(active[is_new].astype(np.int32))
        n_nodes += int(is_new.sum())
    n_children = np.bincount(np.concatenate(parents), minlength=n_nodes)
    first_child = np.concatenate([[1], 1 + np.cumsum(n_children)]).astype(np.int32)
    return np.concatenate(tokens), first_child, np.concatenate(first_items)
