"""A counted prior over the items of a catalog, be it the one it was counted on or another."""

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
    """A prior over the rows of a catalog, in a given order.

    Attributes:
        counts: of each of these rows; 0 events where the prior knows no such item.
        coefficients: of the sequence prior.
        position_of: the place of each row in the order.
        n_dropped: items of the prior that are not in the catalog.
    """

    counts: PriorCounts
    coefficients: Coefficients
    position_of: Mapping[int, int]
    n_dropped: int

    def log_prob(self, history_rows: NDArray[np.int64], kind: PriorKind) -> NDArray[np.float64]:
        """Return the log-probability of each row after a history, oldest first, (n_rows,) nats; see `priors`."""
        history = np.array([self.position_of[row] for row in history_rows.tolist()], np.int64)
        return log_prob(self.counts, history, kind, self.coefficients)


def bind(prior: ItemPrior, catalog: Catalog, rows: NDArray[np.int64]) -> BoundPrior:
    """Find the items of a prior among the `rows` of a catalog, (n_rows,), in whose order the result stands.

    An item is the one with its id if that has the same title and year too; else the one with its title and its year, or
    the year before or after. A year that is missing fits any, where the title is the only one of its kind.
    """
    position_of = {row: position for position, row in enumerate(rows.tolist())}
    by_key: defaultdict[str, list[tuple[int | None, int]]] = defaultdict(list)
    for row, title_key, year in catalog.title_keys():
        if row in position_of:
            by_key[title_key].append((year, row))
    by_id = catalog.by_ids(prior.item_ids)
    places = np.full(len(prior.item_ids), -1, np.int64)
    for i, (item_id, (title, year)) in enumerate(zip(prior.item_ids, prior.titles, strict=True)):
        namesakes = by_key.get(key(title), ())
        item = by_id.get(item_id)
        found = item.row if item and (year, item.row) in namesakes else _of_year(namesakes, year)
        places[i] = -1 if found is None else position_of[found]
    return BoundPrior(
        _moved(prior.counts, places, len(rows)), prior.card.coefficients, position_of, int((places < 0).sum())
    )


def _of_year(namesakes: Sequence[tuple[int | None, int]], year: int | None) -> int | None:
    """Return the row of the namesake that is nearest in time, or None if none is near."""
    for distance in (0, 1):
        for other, row in namesakes:
            if year is not None and other is not None and abs(year - other) == distance:
                return row
    is_only = len(namesakes) == 1 and None in (year, namesakes[0][0])
    return namesakes[0][1] if is_only else None


def _moved(counts: PriorCounts, places: NDArray[np.int64], n_places: int) -> PriorCounts:
    """Return counts with each item at its new place; those that meet at one are added, those without one left out."""
    is_there = places >= 0
    events = np.zeros(n_places, np.int64)
    np.add.at(events, places[is_there], counts.events[is_there])
    matrix = counts.transitions
    kept = is_there[matrix.rows] & is_there[matrix.columns]
    moved = SparseRows(
        places[matrix.rows[kept]], places[matrix.columns[kept]], matrix.values[kept], (n_places, n_places)
    )
    return PriorCounts(events, moved, _moved_closeness(counts.closeness, places, n_places))


def _moved_closeness(closeness: EaseInverse, places: NDArray[np.int64], n_places: int) -> EaseInverse:
    """Return the rows and columns of the items that have a new place, the first of those that meet at one."""
    items, first = np.unique(places[closeness.items], return_index=True)
    first, items = first[items >= 0], items[items >= 0]
    return EaseInverse(n_places, items, np.ascontiguousarray(closeness.inverse[np.ix_(first, first)]))
