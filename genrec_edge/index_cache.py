"""The title indexes on this machine: one for each catalog file and tokenizer, rebuilt when the catalog has changed."""

from __future__ import annotations

import hashlib
import logging
from itertools import count
from typing import TYPE_CHECKING

from genrec_edge import paths
from genrec_edge.index import IndexKey, TitleIndex, build
from genrec_edge.writing import writing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.catalog import Catalog

    OnTitle = Callable[[int, int], object]

log = logging.getLogger(__name__)


def load(
    catalog: Catalog,
    tokenize: Callable[[str], list[int]],
    fingerprint: str,
    on_title: OnTitle = lambda _done, _total: None,
) -> TitleIndex:
    """Return the index of a catalog under a tokenizer, built first if it is missing or out of date.

    Args:
        catalog: what to index.
        tokenize: text to token ids.
        fingerprint: what tells this tokenizer apart from others.
        on_title: told how many titles of how many are tokenised, for a progress bar.

    Raises:
        LockedError: another process has been building the same index for ten minutes.
        DiskFullError: no room for the index.
    """
    key = IndexKey(revision=catalog.revision, tokenizer=fingerprint)
    path = index_path(catalog, fingerprint)
    if (index := _current(path, key)) is not None:
        return index
    with writing(path.parent, lambda _stage, _done, _total: None):
        if (index := _current(path, key)) is None:
            log.info("building the title index of %s", catalog.path)
            build(catalog.titles(), _counted(tokenize, catalog.n_items, on_title), key).save(path)
            index = _current(path, key)
    # Only a catalog that changed while it was indexed gets here without an index of the revision asked for.
    return index if index is not None else load(catalog, tokenize, fingerprint, on_title)


def index_path(catalog: Catalog, fingerprint: str) -> Path:
    """Return the folder of the index of a catalog file under a tokenizer, whether it is there or not.

    The folder around it holds the lock and the leftovers of builders that were killed, which the next one removes.
    """
    name = hashlib.sha256(f"{catalog.path.resolve()}\n{fingerprint}".encode(errors="surrogateescape")).hexdigest()[:16]
    return paths.cache_path() / "indexes" / f"{catalog.path.stem}-{name}" / "trie"


def _current(path: Path, key: IndexKey) -> TitleIndex | None:
    index = TitleIndex.open(path)
    return index if index is not None and index.key == key else None


def _counted(tokenize: Callable[[str], list[int]], total: int, on_title: OnTitle) -> Callable[[str], list[int]]:
    done = count(1)

    def counted(text: str) -> list[int]:
        on_title(next(done), total)
        return tokenize(text)

    return counted
