"""Which items of a catalog go by a name: an index of the loose keys of all titles, their parts and other titles.

It holds a checksum of each key and a row; whoever asks gets items whose names were looked at again, so that an index
can be incomplete, but not wrong. It follows the catalog's revision: rows that changed since it was made are read again.
The index of a large catalog is kept among the caches, beside the title indexes, and goes with the longest unused.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from genrec_edge.catalog import where
from genrec_edge.catalog.loose_titles import ALIAS, Name, loose_key, names
from genrec_edge.catalog.name_columns import OTHER_TITLES
from genrec_edge.storage import array_folder, paths
from genrec_edge.storage.array_folder import ArrayFormat
from genrec_edge.storage.column_roles import simple_name
from genrec_edge.storage.made_folder import MadeFolder
from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.records import Item

_ARRAYS = {"checksums": "<u4", "rows": "<i8", "kinds": "<u1"}
_FORMAT = ArrayFormat("genrec-edge/names@1", frozenset({"revision"}), _ARRAYS)
"""Another number where `loose_titles` makes other keys."""
_KEPT_FROM_ITEMS = 5_000
"""The index of a smaller catalog is made faster than it is written."""
_MAX_CHANGED = 5_000
"""Rows that are read again each time a catalog is opened; of more changes, a new index is made."""
_ITEMS_BETWEEN_POLLS = 10_000
_MAX_OF_A_NAME = 1_000
"""Items that are looked at, whole titles first: what thousands of items have in common names none of them."""


@dataclass(frozen=True, slots=True, eq=False)
class NameIndex:
    """Checksums of names, and the row of each; and what was read again of rows that changed since.

    Attributes:
        revision: of the catalog that the arrays were made from.
        checksums: (n_names,) uint32, ascending.
        rows: (n_names,) catalog rows, of one checksum those first that it names best.
        kinds: (n_names,) how they are named.
        changed: rows that changed since, which the arrays do not count for.
        newer: the rows among them that have a name of each checksum.
    """

    revision: str
    checksums: NDArray[np.uint32]
    rows: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    changed: frozenset[int] = frozenset()
    newer: Mapping[int, tuple[int, ...]] | None = None

    def rows_of(self, key: str) -> list[int]:
        """Return the rows that may have a name of this loose key, at most a thousand besides those that changed."""
        checksum = _checksum(key)
        start, end = (np.searchsorted(self.checksums, np.uint32(checksum), side) for side in ("left", "right"))
        found = {int(row) for row in self.rows[start:end][:_MAX_OF_A_NAME]} - self.changed
        return sorted(found.union((self.newer or {}).get(checksum, ())))


class NameFinder:
    """Finds the items of a catalog by any of their names. May be shared between threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._index: tuple[str, NameIndex] | None = None
        """The revision of the catalog, and its index."""

    def named(self, key: str) -> list[tuple[Item, int]]:
        """Return the items that have a name of this loose key, with the best kind of those names, the best first."""
        revision = self._catalog.revision
        index = self._index
        if index is None or index[0] != revision:
            index = self._index = (revision, load(self._catalog, revision))
        with self._catalog.snapshot():
            items = self._catalog.by_rows(index[1].rows_of(key))
            others = _other_titles_of(self._catalog, items)
        found = []
        for item in items:
            kinds = [name.kind for name in _names_of(item.title, others[item.row]) if name.key == key]
            if kinds:
                found.append((item, min(kinds)))
        return sorted(found, key=lambda pair: pair[1])


def load(catalog: Catalog, revision: str) -> NameIndex:
    """Return the index of a catalog at a revision, out of the caches if it is there, and kept there if it is large.

    Raises:
        LockedError: another process has been making it for ten minutes.
    """
    if catalog.n_items < _KEPT_FROM_ITEMS:
        return _made(catalog, revision)
    folder = MadeFolder("the index of names", index_path(catalog), _read, _write)
    known = folder.peek()
    if known is None or (current := _following(known, catalog, revision)) is None:
        with folder.writing(where.poll) as can_write:
            known = folder.read()
            current = None if known is None else _following(known, catalog, revision)
            if current is None:
                current = _made(catalog, revision)
                if can_write:
                    folder.keep(current)
    with suppress(OSError):
        os.utime(folder.path.parent)
    return current


def index_path(catalog: Catalog) -> Path:
    """Return the folder of the index of a catalog file, whether it is there or not."""
    digest = hashlib.sha256(str(catalog.path.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    return paths.cache_path() / "indexes" / f"{catalog.path.stem}-{digest}" / "names"


def _made(catalog: Catalog, revision: str) -> NameIndex:
    """Return an index of all names of a catalog."""
    checksums, rows, kinds = [], [], []
    with catalog.snapshot():
        items = iter(catalog.query('SELECT "row", title FROM items'))
        others = _all_other_titles(catalog)
    while chunk := list(islice(items, _ITEMS_BETWEEN_POLLS)):
        where.poll()
        for row, title in chunk:
            for name in _names_of(title, others.get(row, ())):
                checksums.append(_checksum(name.key))
                rows.append(row)
                kinds.append(name.kind)
    order = np.lexsort((rows, kinds, checksums))
    ordered_rows, ordered_kinds = np.array(rows, np.int64)[order], np.array(kinds, np.uint8)[order]
    return NameIndex(revision, np.array(checksums, np.uint32)[order], ordered_rows, ordered_kinds)


def _following(index: NameIndex, catalog: Catalog, revision: str) -> NameIndex | None:
    """Return an older index with the changes of the catalog up to a revision; None if it has to be made again."""
    if index.revision == revision:
        return index
    changed = catalog.changed_since(index.revision)
    if changed is None or len(changed) > _MAX_CHANGED:
        return None
    newer: defaultdict[int, tuple[int, ...]] = defaultdict(tuple)
    with catalog.snapshot():
        items = catalog.by_rows(changed.tolist())
        others = _other_titles_of(catalog, items)
    for item in items:
        for key in {name.key for name in _names_of(item.title, others[item.row])}:
            newer[_checksum(key)] += (item.row,)
    return replace(index, changed=frozenset(changed.tolist()), newer=dict(newer))


def _names_of(title: str, others: Sequence[str]) -> set[Name]:
    found = names(title)
    return found | {Name(loose_key(other), ALIAS) for other in others} if others else found


def _columns_of_others(catalog: Catalog) -> list[str]:
    return [column for column in catalog.item_columns if simple_name(column) in OTHER_TITLES]


def _other_titles_of(catalog: Catalog, items: Sequence[Item]) -> dict[int, list[str]]:
    """Return the other titles of some items, by row."""
    columns = _columns_of_others(catalog)
    lists = [column for column in columns if column in catalog.list_columns]
    values = catalog.list_values([item.row for item in items], lists) if lists else {}
    found: dict[int, list[str]] = {}
    for item in items:
        plain = [item.columns[column] for column in columns if column not in lists]
        listed = [value for column in lists for value in values.get((item.row, column), ())]
        found[item.row] = [title for title in (*plain, *listed) if isinstance(title, str)]
    return found


def _all_other_titles(catalog: Catalog) -> Mapping[int, list[str]]:
    """Return the other titles of all items that have some, by row."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for column in _columns_of_others(catalog):
        name = quoted(column)
        rows = (
            catalog.query("SELECT item, value FROM item_values WHERE field = ?", [column])
            if column in catalog.list_columns
            else catalog.query(f"""SELECT "row", {name} FROM items WHERE typeof({name}) = 'text'""")
        )
        for row, title in rows:
            found[row].append(title)
    return found


def _checksum(key: str) -> int:
    return crc32(key.encode(errors="surrogatepass"))


def _write(index: NameIndex, path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {"checksums": index.checksums, "rows": index.rows, "kinds": index.kinds}
    array_folder.write(path, _FORMAT, {"revision": index.revision}, arrays)


def _read(path: Path) -> NameIndex | None:
    return array_folder.read(path, _FORMAT, _kept, _wrong)


def _kept(key: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> NameIndex:
    return NameIndex(key["revision"], arrays["checksums"], arrays["rows"], arrays["kinds"])


def _wrong(index: NameIndex) -> str:
    if not len(index.checksums) == len(index.rows) == len(index.kinds):
        return "its arrays are not of one index"
    return "" if bool((index.checksums[1:] >= index.checksums[:-1]).all()) else "its checksums are not in order"
