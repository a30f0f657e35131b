"""Plain numbers as the coordinates that the package tells apart; see `genrec_edge.coordinates`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import CatalogRow, CatalogRows, TokenId

if TYPE_CHECKING:
    from collections.abc import Iterable


def tokens(*ids: int) -> tuple[TokenId, ...]:
    return tuple(map(TokenId, ids))


def token_list(ids: Iterable[int]) -> list[TokenId]:
    return list(map(TokenId, ids))


def catalog_rows(rows: Iterable[int]) -> CatalogRows:
    return CatalogRows(np.array(list(rows), np.int64))


def numbered(titles: Iterable[str]) -> list[tuple[CatalogRow, str, int | None]]:
    """Return titles without years as the items of a trie, their rows counted from 0."""
    return [(CatalogRow(row), title, None) for row, title in enumerate(titles)]
