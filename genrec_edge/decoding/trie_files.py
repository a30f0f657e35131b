"""A title index as a folder of arrays; `storage.array_folder` says how it is kept and checked.

Beside the hashes the arrays are checked to be a trie at all, so that no search can run in circles or out of them.
Indexes of version 0.1 have no hashes; of those this is all that is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genrec_edge.coordinates import CatalogRows, TriePositions
from genrec_edge.decoding.trie import FORMAT, TitleTrie, TrieKey
from genrec_edge.decoding.trie_checks import check_trie
from genrec_edge.storage import array_folder
from genrec_edge.storage.array_folder import ArrayFormat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

ARRAYS: dict[str, str] = {
    "tokens": "<i4",
    "first_child": "<i4",
    "first_item": "<i4",
    "rows": "<i8",
    "by_row": "<i8",
    "namesakes": "<u4",
}
"""The arrays of an index, one-dimensional, and their types on the disk."""
_FORMAT = ArrayFormat(FORMAT, frozenset({"revision", "tokenizer"}), ARRAYS, may_lack_hashes=True)


def write(trie: TitleTrie, path: Path) -> None:
    """Write an index as folder `path`; `array_folder.write` says what is raised."""
    key = {"revision": trie.key.revision, "tokenizer": trie.key.tokenizer}
    array_folder.write(path, _FORMAT, key, {name: getattr(trie, name) for name in ARRAYS})


def read(path: Path) -> TitleTrie | None:
    """Return the index in the folder `path`, memory-mapped unless it is small; None if there is none.

    Raises:
        DamagedArraysError: it is damaged or of another format. So it may seem while another process replaces it.
    """
    return array_folder.read(path, _FORMAT, _trie, check_trie)


def _trie(key: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> TitleTrie:
    return TitleTrie(
        arrays["tokens"],
        arrays["first_child"],
        arrays["first_item"],
        CatalogRows(arrays["rows"]),
        TriePositions(arrays["by_row"]),
        arrays["namesakes"],
        TrieKey(key["revision"], key["tokenizer"]),
    )
