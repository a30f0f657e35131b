"""Building a title trie: titles are tokenised, sorted by their tokens, and laid out level by level.

Knows nothing of models, any function from text to token ids will do; and nothing of SQLite.
"""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.titles import canonical, disambiguate
from genrec_edge.coordinates import CatalogRow, CatalogRows, TokenId, TriePositions
from genrec_edge.decoding.trie import TitleTrie
from genrec_edge.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.decoding.trie import TrieKey

    TrieItem = tuple[CatalogRow, str, int | None]
    """Row, title and year."""
    Tokenize = Callable[[str], list[TokenId]]
    OnTitle = Callable[[int, int], object]
    """Called with the number of titles tokenised and the number of all."""

_CHUNK_TITLES = 256
"""What one thread tokenises between two reports of progress: 20 ms."""


def build(
    items: Iterable[TrieItem],
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
        on_title: called now and then by the caller's thread with the number of titles tokenised and of all.
        n_threads: threads that tokenise.

    Raises:
        CatalogError: there are no items, or a title has no tokens.
    """
    rows, spellings, years = _split_columns(items)
    if not spellings:
        raise CatalogError("the catalog has no items to index")
    namesakes = title_checksums(spellings)
    spellings = disambiguate(spellings, years)
    sequences = tokenize_titles(rows, spellings, tokenize, on_title, n_threads)
    del spellings, years  # a third of the memory that building takes, and sorting takes as much
    # Big-endian bytes compare like the token sequences, a prefix before its extensions; the sort is stable in rows.
    order = np.array(sorted(range(len(sequences)), key=sequences.__getitem__))
    lengths = np.fromiter((len(sequences[i]) // 4 for i in order), np.int64, len(order))
    flat = np.frombuffer(b"".join(sequences[i] for i in order), ">u4").astype(np.int32)
    del sequences
    sorted_rows = CatalogRows(rows[order])
    by_row = TriePositions(np.argsort(sorted_rows))
    return TitleTrie(*_layout_nodes(flat, lengths), sorted_rows, by_row, namesakes[order], key)


def title_checksums(spellings: Sequence[str]) -> NDArray[np.uint32]:
    """Return a checksum for each canonical spelling; different ones seldom have the same, which costs only time."""
    sums = (zlib.crc32(spelling.encode(errors="replace")) for spelling in spellings)
    return np.fromiter(sums, np.uint32, len(spellings))


def tokenize_titles(
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


def _split_columns(items: Iterable[TrieItem]) -> tuple[CatalogRows, list[str], list[int | None]]:
    """Return rows, canonical spellings and years of the items, without holding their titles."""
    rows: list[CatalogRow] = []
    spellings: list[str] = []
    years: list[int | None] = []
    for row, title, year in items:
        rows.append(row)
        spellings.append(canonical(title))
        years.append(year)
    return CatalogRows(np.array(rows, np.int64)), spellings, years


def _layout_nodes(
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
