"""The indexes of facts on this machine: one beside each title index, in the order of its positions.

It follows the catalog's revision as the title index does, and is built again after any change of the items. What
another program does in `item_values` alone, without changing the column of the item, does not change the revision.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from genrec_edge.decoding import trie_cache
from genrec_edge.prior import fact_files, fact_table
from genrec_edge.prior.fact_files import KeptFacts
from genrec_edge.storage.made_folder import MadeFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.prior.facts import FactIndex

log = logging.getLogger(__name__)


def load(catalog: Catalog, trie: TitleTrie, check: Callable[[], object] = lambda: None) -> FactIndex:
    """Return the facts of the items of a title index, which are read from the catalog first if necessary.

    If they cannot be kept, because the folder cannot be written or the disk is full, a warning is logged.

    Args:
        catalog: what the title index was made from. If it was changed since, so that the title index is not of its
            revision, the facts are those of now, and are not kept.
        trie: the title index.
        check: called many times a second while facts are read or another process reads them; it may raise.

    Raises:
        LockedError: another process has been reading facts for ten minutes.
    """
    folder = MadeFolder("the index of facts", facts_path(catalog, trie), fact_files.read, fact_files.write)

    def make() -> KeptFacts:
        log.info("building the index of facts of %s", catalog.path)
        return KeptFacts(trie.key, fact_table.read(catalog, trie.rows, check))

    found = folder.get(
        lambda kept: kept.made_for == trie.key,
        make,
        on_wait=check,
        may_keep=lambda: catalog.revision == trie.key.revision,
    )
    return found.index


def facts_path(catalog: Catalog, trie: TitleTrie) -> Path:
    """Return the folder of the facts of a catalog in the order of a title index, whether it is there or not."""
    return trie_cache.index_path(catalog, trie.key.tokenizer).with_name("facts")
