"""The token trie of a catalog: flat arrays, memory-mapped from disk.

Items stand in the order of their token sequences ("positions"), so everything below a node is one range of positions,
and the items that end *at* a node come before those of its children. Three int32 arrays describe the nodes, numbered
breadth-first with the children of a node side by side:

    tokens[n]       the token on the edge into node n (the root, node 0, has none)
    first_child[n]  its children are first_child[n] .. first_child[n+1]
    first_item[n]   its items start here; the end is the next sibling's start, or the parent's end

and `rows[p]` is the catalog row of position p. The end-of-title token is not stored. Knows nothing of models: any
function from text to token ids will do, and nothing of SQLite: rows are numbers.
"""

from __future__ import annotations

import bisect
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import CatalogError
from genrec_edge.files import disk_errors, sync
from genrec_edge.titles import model_titles
from genrec_edge.writing import install, work_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = "genrec-edge/index@1"
_ARRAYS = ("tokens", "first_child", "first_item", "rows")


@dataclass(frozen=True, slots=True)
class IndexKey:
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


class TitleIndex:
    """A catalog's titles as a token trie. Read-only; shared freely between threads."""

    def __init__(
        self,
        tokens: NDArray[np.int32],
        first_child: NDArray[np.int32],
        first_item: NDArray[np.int32],
        rows: NDArray[np.int64],
        key: IndexKey,
    ) -> None:
        self.tokens = tokens
        self.first_child = first_child
        self.first_item = first_item
        self.rows = rows
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

    def path(self, position: int) -> list[int]:
        """Return the token ids of the title at `position`."""
        return self._descend(position)[0]

    def leaf(self, position: int) -> range:
        """Return the positions of all items that share the token sequence of `position`, itself included."""
        return self._descend(position)[1]

    def _descend(self, position: int) -> tuple[list[int], range]:
        node, end = 0, self.n_items
        token_ids: list[int] = []
        while position not in (own := self.own_items(node, end)):
            lo, hi = int(self.first_child[node]), int(self.first_child[node + 1])
            node = bisect.bisect_right(self.first_item, position, lo, hi) - 1
            end = int(self.first_item[node + 1]) if node + 1 < hi else end
            token_ids.append(int(self.tokens[node]))
        return token_ids, own

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of catalog rows, in position order; rows the index does not hold are left out."""
        if len(rows) == 0 or self.n_items == 0:
            return np.empty(0, np.int64)
        wanted = np.zeros(max(int(self.rows.max()), int(rows.max())) + 1, bool)
        wanted[rows] = True
        return np.flatnonzero(wanted[self.rows])

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
            install(made, path, work)

    @classmethod
    def open(cls, path: Path) -> TitleIndex | None:
        """Return the memory-mapped index at `path`, or None when there is none that can be used."""
        try:
            key = IndexKey(**json.loads((path / "key.json").read_text(encoding="utf-8")))
            mapped = (np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS)
            # Still mapped, and several times faster to index than the np.memmap around it.
            tokens, first_child, first_item, rows = (np.asarray(array) for array in mapped)
        except (OSError, ValueError, TypeError):
            return None  # an index is a cache: whatever is wrong with it, building it again is the remedy
        return cls(tokens, first_child, first_item, rows, key)


def build(
    items: Iterable[tuple[int, str, int | None]], tokenize: Callable[[str], list[int]], key: IndexKey
) -> TitleIndex:
    """Return the index of `items` (catalog row, title, year), tokenising every title alone.

    Raises:
        CatalogError: there are no items, or a title has no tokens.
    """
    listed = list(items)
    if not listed:
        raise CatalogError("the catalog has no items to index")
    spellings = model_titles([(title, year) for _, title, year in listed])
    sequences = [np.array(tokenize(spelling), dtype=">u4").tobytes() for spelling in spellings]
    if b"" in sequences:
        row = listed[sequences.index(b"")][0]
        raise CatalogError(f"the title of catalog row {row} has no tokens")
    # Big-endian bytes compare like the token sequences, a prefix before its extensions; the sort is stable in rows.
    order = sorted(range(len(listed)), key=sequences.__getitem__)
    rows = np.array([listed[i][0] for i in order], np.int64)
    lengths = np.array([len(sequences[i]) // 4 for i in order], np.int64)
    flat = np.frombuffer(b"".join(sequences[i] for i in order), ">u4").astype(np.int32)
    tokens, first_child, first_item = _trie(flat, lengths)
    return TitleIndex(tokens, first_child, first_item, rows, key)


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
