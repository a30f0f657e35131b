"""What items have in common with a history, by the columns of their catalog, in nats for each item.

The latest 20 titles of the history weigh w_i = .95^i, the newest first, normalised to sum 1. A value v of a column that
they have with the weights p_v, and a share q_v of all items (but at least 3 items), is lifted by

    L_v = log(1 + p_v / (3 q_v))

and an item j gets, from each column c, the mean of the lifts of its values there and of a nought, times the weight of
the column:

    facts(j) = sum over c of a_c * (sum over the values v of j in c of L_v) / (1 + number of values of j in c)

So an item of many values needs many in common, one of which little is known does not win by its only value, and a value
that every other item has says little. No other user's data
is needed: an item counts from the minute it is in the catalog. Values that one item alone has connect nothing and are
not held; they count in the number of values. Knows no catalogs, no models: items are positions, counted from 0.

Form and weights were fitted by conditional likelihood on open data: what users of MovieTweetings liked next (7 and more
of 10), and what people of ReDial liked beside what they named. Each was to be told from about 99 titles drawn by
popularity (by that of the same week, where there are times), so that knowing what is popular cannot help. Columns that
films do not have weigh by a formula of the mean information of their values, which was fitted to the same.

Many items have the same values in a column, such as genres or a year. Those are one group, and what the column gives is
computed once for each group: a million items take 10 to 20 ms less for each such column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.facts import CREATORS, PERFORMERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

YEAR, TITLE = "year", "title"
"""The columns that every catalog has."""
LATEST = 20
"""Titles of a history that count."""
_DECAY = 0.95
_DULLING = 3.0
_LEAST_ITEMS = 3
_FITTED: tuple[tuple[frozenset[str], float], ...] = (
    (frozenset({"genre", "genres"}), 2.92),
    (CREATORS, 0.39),
    (PERFORMERS, 0.93),
    (frozenset({"country", "countries"}), 0.97),
    (frozenset({"language", "languages"}), 0.69),
    (frozenset({"keyword", "keywords"}), 0.81),
    (frozenset({YEAR}), 1.20),
    (frozenset({TITLE}), 0.27),
    (frozenset({"award", "awards"}), 0.0),  # they say how well known a film is
)
"""Names of columns, and the weight of each; that of `director` for all creators, that of `cast` for all performers."""
_OTHER, _LEAST_INFORMATION = 3.4, 2.0
"""Any other column weighs the first of these by its mean information, which is at least the second, in nats."""


def column_weight(name: str, information: float) -> float:
    """Return the weight of a column by its name, or by the mean of -log q_v over its values, in nats.

    >>> column_weight("Genre", 1.5), column_weight("author", 9.0), column_weight("brand", 4.25)
    (2.92, 0.39, 0.8)
    """
    for names, weight in _FITTED:
        if name.casefold() in names:
            return weight
    return _OTHER / max(information, _LEAST_INFORMATION)


def history_weights(history: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the latest 20 items of a history of positions, oldest first, the newest first, and their weights w_i.

    Of an item that stands there several times, the latest place counts. The weights sum to one.
    """
    newest_first = list(dict.fromkeys(reversed(history)))[:LATEST]
    weights = _DECAY ** np.arange(len(newest_first), dtype=np.float64)
    return np.array(newest_first, np.int64), weights / max(weights.sum(), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class FactColumn:
    """One column of an index.

    Attributes:
        name: as the catalog has it.
        values: the numbers of its values in the index.
        n_pairs: pairs of an item and a value, those of values that are not held included.
        n_values: (n_groups,) how many values each group of items has here, those that are not held included.
        group_of: (n_items,) the group of each item; None where each item is its own.
    """

    name: str
    values: range
    n_pairs: int
    n_values: NDArray[np.int32]
    group_of: NDArray[np.int32] | None


class FactIndex:
    """The facts of all items of a catalog, sparse. Read-only; shared freely between threads.

    Args:
        columns: their `values` follow each other.
        n_items_with: (n_values,) how many items have each value.
        starts: (n_values + 1,) where the members of each value begin.
        members: (n_members,) for each value the groups of its column that have it, ascending.
        item_starts: (n_items + 1,) where the values of each item begin.
        item_values: (n_pairs,) the values of each item, ascending.
    """

    def __init__(
        self,
        columns: Sequence[FactColumn],
        n_items_with: NDArray[np.int32],
        starts: NDArray[np.int64],
        members: NDArray[np.int32],
        item_starts: NDArray[np.int64],
        item_values: NDArray[np.int32],
    ) -> None:
        self.columns = tuple(columns)
        self.n_items_with = n_items_with
        self.starts = starts
        self.members = members
        self.item_starts = item_starts
        self.item_values = item_values
        self.n_items = len(item_starts) - 1
        self._shares: NDArray[np.float64] = np.maximum(n_items_with, _LEAST_ITEMS) / max(1, self.n_items)
        self.weights = tuple(column_weight(column.name, self._information(column)) for column in self.columns)
        """a_c of each column."""

    def scores(self, history: Sequence[int]) -> NDArray[np.float64]:
        """Return what each item has in common with a history of positions, oldest first: (n_items,) nats, at least 0.

        Of an item that stands there several times, the latest place counts.
        """
        values, lifts = self._lifts(history)
        scores = np.zeros(self.n_items)
        own: list[tuple[NDArray[np.int32], NDArray[np.float64]]] = []
        for column, weight in zip(self.columns, self.weights, strict=True):
            first, last = np.searchsorted(values, (column.values.start, column.values.stop))
            if first == last or not weight:
                continue
            members, nats = self._spread(values[first:last], weight * lifts[first:last])
            if column.group_of is None:
                own.append((members, nats / (1 + column.n_values[members])))
            else:
                of_groups = np.bincount(members, nats, len(column.n_values)) / (1 + column.n_values)
                scores += of_groups[column.group_of]
        if own:
            scores += np.bincount(
                np.concatenate([members for members, _ in own]), np.concatenate([nats for _, nats in own]), self.n_items
            )
        return scores

    def _lifts(self, history: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the values that a history has, ascending, and the lift of each."""
        newest_first, weights = history_weights(history)
        slices = [slice(int(self.item_starts[i]), int(self.item_starts[i + 1])) for i in newest_first.tolist()]
        having = np.concatenate([np.empty(0, np.int64), *(self.item_values[part] for part in slices)])
        values, which = np.unique(having, return_inverse=True)
        weight_of = np.repeat(weights, [part.stop - part.start for part in slices])
        had = np.bincount(which, weight_of, len(values))
        return values, np.log1p(had / (_DULLING * self._shares[values]))

    def _spread(
        self, values: NDArray[np.int64], nats: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return all members of some values, and the nats of its value for each of them."""
        starts, ends = self.starts[values], self.starts[values + 1]
        members = [self.members[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return np.concatenate(members), np.repeat(nats, ends - starts)

    def _information(self, column: FactColumn) -> float:
        """Return the mean of -log q_v over the pairs of an item and a value of a column, in nats."""
        held = slice(column.values.start, column.values.stop)
        counts = self.n_items_with[held].astype(np.float64)
        alone = column.n_pairs - counts.sum()  # the values of one item
        total = -(counts * np.log(self._shares[held])).sum() - alone * np.log(_LEAST_ITEMS / self.n_items)
        return float(total / column.n_pairs)
