"""The title indexes on this machine: one for each catalog file and tokenizer, kept up with the catalog's changes.

An index is worth nothing but time. A damaged one is built again, one that cannot be kept serves this process alone, and
those that were unused for the longest time are removed.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from genrec_edge.decoding import trie_files, trie_update
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.errors import LockedError
from genrec_edge.storage import paths
from genrec_edge.storage.folders import remove_leftovers, remove_root
from genrec_edge.storage.made_folder import MadeFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.coordinates import TokenId
    from genrec_edge.decoding.trie_build import OnTitle

log = logging.getLogger(__name__)

MAX_BYTES = 4 << 30
MAX_FOLDERS = 256
"""Of all indexes; an index of a million titles has 100 MB."""
_MAX_CHANGED_SHARE = 1 / 8
"""If a larger share of the titles changed, building the index again is as fast."""


def load(
    catalog: Catalog,
    tokenize: Callable[[str], list[TokenId]],
    fingerprint: str,
    on_title: OnTitle = lambda _done, _total: None,
    n_threads: int = 1,
    on_wait: Callable[[], object] = lambda: None,
) -> TitleTrie:
    """Return the index of a catalog under a tokenizer, which is brought up to date or built first if necessary.

    If it cannot be kept, because the folder cannot be written or the disk is full, a warning is logged.

    Args:
        catalog: what to index.
        tokenize: text to token ids; with several threads it is called by all of them.
        fingerprint: identifies the tokenizer.
        on_title: called with the number of titles tokenised and of all, for a progress bar.
        n_threads: threads that tokenise.
        on_wait: called several times a second while another process builds the same index; it may raise.

    Raises:
        LockedError: another process has been building the same index for ten minutes.
    """
    path = index_path(catalog, fingerprint)
    folder = MadeFolder("the title index", path, trie_files.read, trie_files.write)
    known = folder.peek()
    if known is not None and known.key == TrieKey(catalog.revision, fingerprint):
        remove_leftovers(path.parent)
        _mark_as_used(path.parent)
        return known
    with folder.writing(on_wait) as can_write:
        known = folder.read()
        if known is not None and known.key == TrieKey(catalog.revision, fingerprint):
            return known
        made = None if known is None else _updated(known, catalog, tokenize, fingerprint, on_title)
        if made is None:
            log.info("building the title index of %s", catalog.path)
            with catalog.snapshot():
                key = TrieKey(catalog.revision, fingerprint)
                # A list of its own would be held until the index is built; an iterator lets go of it when it has ended.
                items = iter(catalog.query('SELECT "row", title, year FROM items ORDER BY "row"'))
            made = build(items, tokenize, key, on_title, n_threads)
        is_kept = can_write and folder.keep(made)
    if not is_kept:
        return made
    _mark_as_used(path.parent)
    with suppress(OSError):  # others may remove some meanwhile
        _remove_longest_unused(path.parent)
    return folder.peek() or made  # a large one is mapped: no memory of its own


def _mark_as_used(folder: Path) -> None:
    with suppress(OSError):
        os.utime(folder)


def _remove_longest_unused(kept: Path) -> None:
    """Remove the folders of indexes that exceed the limits, the longest unused first; not `kept`, nor one in use."""
    n_bytes = 0
    folders = sorted(kept.parent.iterdir(), key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
    for n, folder in enumerate(folders, start=1):
        n_bytes += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if (n > MAX_FOLDERS or n_bytes > MAX_BYTES) and folder != kept:
            log.info("removing the title index in %s, which was unused for the longest time", folder)
            with suppress(LockedError):
                remove_root(folder)


def _updated(
    known: TitleTrie, catalog: Catalog, tokenize: Callable[[str], list[TokenId]], fingerprint: str, on_title: OnTitle
) -> TitleTrie | None:
    """Return an older index with the changes of the catalog, or None if it has to be built again."""
    with catalog.snapshot():
        key = TrieKey(catalog.revision, fingerprint)
        changed = catalog.changed_since(known.key.revision)
        if known.key != replace(key, revision=known.key.revision) or changed is None:
            return None
        rows = trie_update.affected_rows(known, changed, catalog.titles_of(changed))
        if len(rows) > _MAX_CHANGED_SHARE * known.n_items:
            return None
        items, n_items = catalog.titles_of(rows), catalog.n_items
    if known.n_items - len(known.positions(rows)) + len(items) != n_items:
        return None  # a row was removed without a record of the change
    log.info("bringing the title index of %s up to date: %d titles", catalog.path, len(rows))
    return trie_update.updated(known, rows, items, tokenize, key, on_title)


def index_path(catalog: Catalog, fingerprint: str) -> Path:
    """Return the folder of the index of a catalog file under a tokenizer, whether it is there or not.

    The folder around it holds the lock and the leftovers of builders that were killed, which the next one removes.
    """
    name = hashlib.sha256(f"{catalog.path.resolve()}\n{fingerprint}".encode(errors="surrogateescape")).hexdigest()[:16]
    return paths.cache_path() / "indexes" / f"{catalog.path.stem}-{name}" / "trie"
