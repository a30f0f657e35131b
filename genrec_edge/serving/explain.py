"""Why an item was recommended: the titles of the history without which its score would be lower.

Measured: each title is left out, the prompt evaluated again, and the items scored again by the same search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import CatalogRow, CatalogRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_TITLES = 30
"""The latest titles of a history, each of which is left out once."""
MOST_REASONS = 3
LEAST_NATS = 0.1
"""What a title has to add to be named: another build of llama.cpp moves differences of scores by some hundredths."""


def reasons(
    liked: CatalogRows, scores_of: Callable[[CatalogRows], Mapping[CatalogRow, float]]
) -> dict[CatalogRow, list[tuple[CatalogRow, float]]]:
    """Return for each item the rows of the history that raise its score most, with the nats they do, most first.

    Args:
        liked: (n,) catalog rows of the prompt's history, oldest first.
        scores_of: the score of each item after a history, by its row; the same items for every history.
    """
    with_all = scores_of(liked)
    gains: dict[CatalogRow, list[tuple[CatalogRow, float]]] = {row: [] for row in with_all}
    for left_out in range(max(0, len(liked) - MOST_TITLES), len(liked)):
        without = scores_of(CatalogRows(np.delete(liked, left_out)))
        for row, score in with_all.items():
            if score - without[row] >= LEAST_NATS:
                gains[row].append((CatalogRow(int(liked[left_out])), score - without[row]))
    return {row: sorted(found, key=lambda gain: -gain[1])[:MOST_REASONS] for row, found in gains.items()}
