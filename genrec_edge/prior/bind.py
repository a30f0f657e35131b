"""Maps a prior to the items of a catalog: the one it was counted on, or another."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.titles import key
from genrec_edge.prior.cooccurrence import SparseRows
from genrec_edge.prior.ease import EaseInverse
from genrec_edge.prior.model import PriorCounts, log_prob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.prior.db import ItemPrior
    from genrec_edge.prior.model import Coefficients
    from genrec_edge.records import PriorKind


@dataclass(frozen=True, slots=True, eq=False)
class BoundPrior:
    """A prior over rows of a catalog, in a given order.

    Attributes:
        counts: of each row; 0 events for rows that no item of the prior matches.
        coefficients: of the sequence prior.
        position_of: the position of each row in the order.
        n_dropped: items of the prior that match no row.
        recent: events with each row in the four weeks up to the last one, (n_rows,); None where they have no times.
    """

    counts: PriorCounts
    coefficients: Coefficients
    position_of: Mapping[int, int]
    n_dropped: int
    recent: NDArray[np.int64] | None = None

    def log_prob(self, history_rows: NDArray[np.int64], kind: PriorKind) -> NDArray[np.float64]:
        """Return the log-probability of each row after a history, oldest first, (n_rows,) nats; see `prior.model`."""
        history = np.array([self.position_of[row] for row in history_rows.tolist()], np.int64)
        return log_prob(self.counts, history, kind, self.coefficients)


def bind(prior: ItemPrior, catalog: Catalog, rows: NDArray[np.int64]) -> BoundPrior:
    """Map the items of a prior to the `rows` of a catalog, (n_rows,), which give the order of the result.

    `matching_positions` says which row an item matches.
    """
    positions = matching_positions(catalog, rows, prior.item_ids, prior.titles)
    counts = _reindexed(prior.counts, positions, len(rows))
    position_of = {row: position for position, row in enumerate(rows.tolist())}
    recent = None if prior.recent is None else _reindexed_events(prior.recent, positions, len(rows))
    return BoundPrior(counts, prior.card.coefficients, position_of, int((positions < 0).sum()), recent)


def matching_positions(
    catalog: Catalog, rows: NDArray[np.int64], item_ids: Sequence[str], titles: Sequence[tuple[str, int | None]]
) -> NDArray[np.int64]:
    """Return the position among the `rows` of a catalog of each of some items, (n_items,), -1 where there is none.

    An item matches the row with its id if title and year agree, too; else the row with its title and a year that
    differs by at most one. A missing year matches any year if no other row has the title.
    """
    position_of = {row: position for position, row in enumerate(rows.tolist())}
    by_key: defaultdict[str, list[tuple[int | None, int]]] = defaultdict(list)
    for row, title_key, year in catalog.title_keys():
        if row in position_of:
            by_key[title_key].append((year, row))
    by_id = catalog.by_ids(item_ids)
    positions = np.full(len(item_ids), -1, np.int64)
    for i, (item_id, (title, year)) in enumerate(zip(item_ids, titles, strict=True)):
        same_title = by_key.get(key(title), ())
        item = by_id.get(item_id)
        matching_row = item.row if item and (year, item.row) in same_title else _row_of_year(same_title, year)
        if matching_row is not None:
            positions[i] = position_of[matching_row]
    return positions


def _row_of_year(same_title: Sequence[tuple[int | None, int]], year: int | None) -> int | None:
    """Return the row of the nearest year, at most one year off, or None."""
    for distance in (0, 1):
        for other_year, row in same_title:
            if year is not None and other_year is not None and abs(year - other_year) == distance:
                return row
    if len(same_title) == 1 and None in (year, same_title[0][0]):
        return same_title[0][1]
    return None


def _reindexed(counts: PriorCounts, positions: NDArray[np.int64], n_positions: int) -> PriorCounts:
    """Return counts with each item at its new position, -1 for none; counts of items at one position are added."""
    has_position = positions >= 0
    events = _reindexed_events(counts.events, positions, n_positions)
    matrix = counts.transitions
    kept = has_position[matrix.rows] & has_position[matrix.columns]
    transitions = SparseRows(
        positions[matrix.rows[kept]], positions[matrix.columns[kept]], matrix.values[kept], (n_positions, n_positions)
    )
    return PriorCounts(events, transitions, _reindexed_ease(counts.ease, positions, n_positions))


def _reindexed_events(events: NDArray[np.int64], positions: NDArray[np.int64], n_positions: int) -> NDArray[np.int64]:
    has_position, found = positions >= 0, np.zeros(n_positions, np.int64)
    np.add.at(found, positions[has_position], events[has_position])
    return found


def _reindexed_ease(ease: EaseInverse, positions: NDArray[np.int64], n_positions: int) -> EaseInverse:
    """Return the rows and columns of the items that have a new position, the first of several at one position."""
    items, first = np.unique(positions[ease.items], return_index=True)
    first, items = first[items >= 0], items[items >= 0]
    return EaseInverse(n_positions, items, np.ascontiguousarray(ease.inverse[np.ix_(first, first)]))
