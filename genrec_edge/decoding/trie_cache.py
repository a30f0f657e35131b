"""The title indexes on this machine: one for each catalog file and tokenizer, kept up with the catalog's changes."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from genrec_edge.decoding import trie_update
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.storage import paths
from genrec_edge.storage.folders import locked_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.coordinates import TokenId
    from genrec_edge.decoding.trie_build import OnTitle

log = logging.getLogger(__name__)

_MAX_CHANGED_SHARE = 1 / 8
"""If a larger share of the titles changed, building the index again is as fast."""


def load(
    catalog: Catalog,
    tokenize: Callable[[str], list[TokenId]],
    fingerprint: str,
    on_title: OnTitle = lambda _done, _total: None,
    n_threads: int = 1,
) -> TitleTrie:
    """Return the index of a catalog under a tokenizer, which is brought up to date or built first if necessary.

    Args:
        catalog: what to index.
        tokenize: text to token ids; with several threads it is called by all of them.
        fingerprint: identifies the tokenizer.
        on_title: called with the number of titles tokenised and of all, for a progress bar.
        n_threads: threads that tokenise.

    Raises:
        LockedError: another process has been building the same index for ten minutes.
        DiskFullError: the disk is full.
    """
    path = index_path(catalog, fingerprint)
    known = TitleTrie.open(path)
    if known is not None and known.key == TrieKey(catalog.revision, fingerprint):
        return known
    with locked_root(path.parent):
        known = TitleTrie.open(path)
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
        made.save(path)
    return TitleTrie.open(path) or made  # mapped, it costs no memory of its own


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
