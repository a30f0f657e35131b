"""The four integers that name an item or a token, each a type of its own, so that mypy refuses one for another.

`CatalogRow`: the column "row" of the SQLite table `items`. Counts from 1, with gaps where items were removed. Valid for
one catalog file; an item keeps its row while it stays in the catalog.

`TriePosition`: the items of a title trie in the order of their token sequences. Counts from 0 to `TitleTrie.n_items`.
Valid for one `TitleTrie`, that is for one revision of a catalog under one tokenizer. Masks and biases of the search are
indexed by it.

`ItemIndex`: the items of a data set, in the order of the catalog rows. Counts from 0 to `Dataset.n_items`. Valid for
one imported data set.

`TokenId`: the entries of a vocabulary. Counts from 0 to `Model.n_vocab`. Valid for one tokenizer.

A row leads to a position by `TitleTrie.positions`, a position to a row by `TitleTrie.row_at` and to token ids by
`TitleTrie.path`, an item index to a row by `Dataset.rows`. A trie that was built without a catalog, as in training, has
as its rows whatever numbers its titles were built with.

One-dimensional arrays of rows and of positions have types, too. A slice of one is a plain array for mypy: wrap it again
where it is handed on. This module imports nothing of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CatalogRow = NewType("CatalogRow", int)
TriePosition = NewType("TriePosition", int)
ItemIndex = NewType("ItemIndex", int)
TokenId = NewType("TokenId", int)

CatalogRows = NewType("CatalogRows", "NDArray[np.int64]")
"""(n,) int64, a `CatalogRow` each."""
TriePositions = NewType("TriePositions", "NDArray[np.int64]")
"""(n,) int64, a `TriePosition` each."""
