"""How well known the items of a catalog are: its column `known`, from 0 to 100, where it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog

COLUMN = "known"
MOST_KNOWN = 100.0
"""What everybody knows."""


def known_shares(catalog: Catalog, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return how well known the `rows` of a catalog are, (n_rows,) from 0 to 1; None without such a column of numbers.

    A row without a value is known by nobody; what is out of range counts as its end. The case of the name is as it may.
    """
    name = next((name for name in catalog.item_columns if name.casefold() == COLUMN), None)
    if name is None or name in catalog.list_columns:
        return None
    column = quoted(name)
    found = catalog.query(f"SELECT \"row\", {column} FROM items WHERE typeof({column}) IN ('integer', 'real')")
    if not found:
        return None
    values = {row: min(max(value, 0.0), MOST_KNOWN) / MOST_KNOWN for row, value in found}
    return np.array([values.get(row, 0.0) for row in rows.tolist()])
