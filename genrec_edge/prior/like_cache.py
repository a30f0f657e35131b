"""The liked sets that come with the package and how well known items are, found in a catalog once, and kept.

They lie beside each title index, in the order of its positions, as the index of facts does (`fact_cache.py`), and are
found again after any change of the items, or with another version of the package.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.decoding import trie_cache
from genrec_edge.decoding.trie import TrieKey
from genrec_edge.prior.known import known_shares
from genrec_edge.prior.liked import LikedGroup, LikedSets
from genrec_edge.prior.open_likes import liked_sets, shipped_likes_path, unreadable
from genrec_edge.storage import array_folder
from genrec_edge.storage.array_folder import ArrayFormat, DamagedArraysError
from genrec_edge.storage.made_folder import MadeFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.decoding.trie import TitleTrie

_ARRAYS = {
    "rated_starts": "<i8",
    "rated_sets": "<i4",
    "older_starts": "<i8",
    "older_sets": "<i4",
    "n_sets": "<i8",
    "known": "<f8",
}
"""The arrays of two groups, how many sets each has, and how well known each item is, or nothing."""
_FORMAT = ArrayFormat("genrec-edge/likes@1", frozenset({"revision", "tokenizer", "index", "likes"}), _ARRAYS)


@dataclass(frozen=True, slots=True, eq=False)
class ItemLikes:
    """What is known of the items of a title index, by position.

    Attributes:
        liked: the sets of the package; None if none of its films is there.
        known: (n_items,) from 0 to 1; None without such a column.
    """

    liked: LikedSets | None
    known: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    made_for: TrieKey
    likes_sha256: str
    item_likes: ItemLikes


def load(catalog: Catalog, trie: TitleTrie, check: Callable[[], object] = lambda: None) -> ItemLikes:
    """Return what is known of the items of a title index, which is found in the catalog first if necessary.

    If it cannot be kept, because the folder cannot be written or the disk is full, a warning is logged. `check` is
    called while another process finds the same; it may raise.

    Raises:
        LockedError: another process has been at it for ten minutes.
        DatasetError: the file that comes with the package is damaged.
    """
    path = trie_cache.index_path(catalog, trie.key.tokenizer).with_name("likes")
    folder = MadeFolder("the index of liked sets", path, _read, _write)
    sha256 = _likes_sha256()

    found = folder.get(
        lambda kept: kept.made_for == trie.key and kept.likes_sha256 == sha256,
        lambda: _Kept(trie.key, sha256, _find(catalog, trie.rows)),
        on_wait=check,
        may_keep=lambda: catalog.revision == trie.key.revision,
    )
    return found.item_likes


def _find(catalog: Catalog, rows: NDArray[np.int64]) -> ItemLikes:
    liked = liked_sets(catalog, rows)
    return ItemLikes(liked if liked.is_counted.any() else None, known_shares(catalog, rows))


@functools.cache
def _likes_sha256() -> str:
    try:
        return hashlib.sha256(shipped_likes_path().read_bytes()).hexdigest()
    except OSError as e:
        raise unreadable(e) from e


def _write(kept: _Kept, path: Path) -> None:
    made_for, likes = kept.made_for, kept.item_likes
    key = {
        "revision": made_for.revision,
        "tokenizer": made_for.tokenizer,
        "index": made_for.format,
        "likes": kept.likes_sha256,
    }
    groups = () if likes.liked is None else likes.liked.groups
    arrays: dict[str, NDArray[Any]] = {name: np.empty(0) for name in _ARRAYS}
    for name, group in zip(("rated", "older"), groups, strict=False):
        arrays |= {f"{name}_starts": group.starts, f"{name}_sets": group.sets}
    arrays["n_sets"] = np.array([group.n_sets for group in groups])
    if likes.known is not None:
        arrays["known"] = likes.known
    array_folder.write(path, _FORMAT, key, arrays)


def _read(path: Path) -> _Kept | None:
    """Return what the folder holds, None if there is none.

    Raises:
        DamagedArraysError: it is damaged or of another format.
    """
    return array_folder.read(path, _FORMAT, _kept, _wrong)


def _kept(key: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> _Kept:
    n_sets = arrays["n_sets"].tolist()
    groups = tuple(
        LikedGroup(arrays[f"{name}_starts"], arrays[f"{name}_sets"], n)
        for name, n in zip(("rated", "older"), n_sets, strict=False)
    )
    if len(n_sets) not in {0, 2} or len({len(group.starts) for group in groups}) > 1:
        raise DamagedArraysError("its arrays are not of one catalog")
    liked = LikedSets(groups, len(groups[0].starts) - 1) if groups else None
    known = arrays["known"] if len(arrays["known"]) else None
    made_for = TrieKey(key["revision"], key["tokenizer"], key["index"])
    return _Kept(made_for, key["likes"], ItemLikes(liked, known))


def _wrong(kept: _Kept) -> str:
    """Return what is wrong with the arrays, "" if nothing is: no request can run out of them."""
    liked, known = kept.item_likes.liked, kept.item_likes.known
    for group in () if liked is None else liked.groups:
        starts, sets = group.starts, group.sets
        if not len(starts) or starts[0] != 0 or starts[-1] != len(sets) or bool((starts[1:] < starts[:-1]).any()):
            return "its parts do not lie side by side"
        if len(sets) and not (sets.min() >= 0 and sets.max() < group.n_sets):
            return "an item is in a set that does not exist"
    if liked is not None and known is not None and len(known) != liked.n_items:
        return "its arrays are not of one catalog"
    if known is not None and not (np.isfinite(known).all() and known.min() >= 0 and known.max() <= 1):
        return "how well known an item is, is out of range"
    return ""
