"""Makes an index of facts out of the values of items, column by column. Knows no catalogs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.prior.facts import FactColumn, FactIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

_ITEMS_PER_GROUP = 16
"""A column has groups if they are as many times fewer than the items; else looking them up gains nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class ValuePairs:
    """The values of items in one column.

    Attributes:
        name: of the column.
        values: (n,) numbers from 0, one for each value, in any order.
        items: (n,) the item of each pair; no pair comes twice.
        n_unlisted: further pairs, of items that have no other value here and that have it alone.
    """

    name: str
    values: NDArray[np.int64]
    items: NDArray[np.int64]
    n_unlisted: int = 0


def build(n_items: int, columns: Iterable[ValuePairs], check: Callable[[], object] = lambda: None) -> FactIndex:
    """Return the index of some columns; those that connect no two items are left out.

    `check` is called about once a second; it may raise.
    """
    made = [column for pairs in columns if (column := _Column.of(pairs, n_items, check)) is not None]
    check()
    n_values = np.cumsum([0, *(len(column.n_items_with) for column in made)]).tolist()
    places = [range(n_values[i], n_values[i + 1]) for i in range(len(made))]
    item_starts, item_values = _by_item(n_items, made, places)
    none = np.empty(0, np.int64)
    return FactIndex(
        [
            FactColumn(column.name, place, column.n_pairs, column.n_values, column.group_of)
            for column, place in zip(made, places, strict=True)
        ],
        np.concatenate([none, *(column.n_items_with for column in made)]).astype(np.int32),
        _starts(np.concatenate([none, *(column.n_members for column in made)])),
        np.concatenate([none.astype(np.int32), *(column.members for column in made)]),
        item_starts,
        item_values,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """A column on its own: what `FactColumn` and `FactIndex` have of it, with its values counted from 0."""

    name: str
    n_pairs: int
    n_values: NDArray[np.int32]
    group_of: NDArray[np.int32] | None
    n_items_with: NDArray[np.int64]
    n_members: NDArray[np.int64]
    members: NDArray[np.int32]
    n_held: NDArray[np.int64]
    """(n_items,) of the values of each item, those that are held."""
    by_item: NDArray[np.int32]
    """The values of all items, in the order of items, then values."""

    @classmethod
    def of(cls, pairs: ValuePairs, n_items: int, check: Callable[[], object]) -> _Column | None:
        """Return a column, None if no two items have a value of it in common."""
        n_items_with = np.bincount(pairs.values)
        is_held = n_items_with > 1
        if not is_held.any():
            return None
        n_values = np.bincount(pairs.items, minlength=n_items)
        number = np.cumsum(is_held) - 1
        kept = is_held[pairs.values]
        values, items = number[pairs.values[kept]], pairs.items[kept]
        n_held_values = int(number[-1]) + 1
        by_item = np.sort(items * n_held_values + values) % n_held_values
        check()
        n_held = np.bincount(items, minlength=n_items)
        group_of = _groups(n_values, n_held, by_item, n_held_values)
        if group_of is not None:  # each group is represented by one of its items
            _, first = np.unique(group_of, return_index=True)
            stands_for = np.full(n_items, -1)
            stands_for[first] = group_of[first]
            kept = stands_for[items] >= 0
            values, items, n_values = values[kept], stands_for[items[kept]], n_values[first]
        check()
        n_groups = len(n_values)
        members = np.sort(values * n_groups + items) % n_groups
        return cls(
            pairs.name,
            len(pairs.values) + pairs.n_unlisted,
            n_values.astype(np.int32),
            None if group_of is None else group_of.astype(np.int32),
            n_items_with[is_held],
            np.bincount(values, minlength=n_held_values),
            members.astype(np.int32),
            n_held,
            by_item.astype(np.int32),
        )


def _groups(
    n_values: NDArray[np.int64], n_held: NDArray[np.int64], by_item: NDArray[np.int64], n_held_values: int
) -> NDArray[np.int64] | None:
    """Return the group of each item, (n_items,), numbered from 0; None if there are too many groups.

    Items of one group have the same values, and as many that are not held: they are told apart by how many values they
    have, then by the first one, by the second, and so on.
    """
    most = len(n_values) // _ITEMS_PER_GROUP
    starts = _starts(n_held)[:-1]
    group_of = np.unique(n_values, return_inverse=True)[1]
    for place in range(int(n_held.max())):
        has_one = n_held > place
        further = np.zeros(len(n_values), np.int64)
        further[has_one] = by_item[starts[has_one] + place] + 1
        groups, group_of = np.unique(group_of * (n_held_values + 1) + further, return_inverse=True)
        if len(groups) > most:
            return None
    return group_of if int(group_of.max()) < most else None


def _by_item(n_items: int, columns: list[_Column], places: list[range]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return where the values of each item begin, and the values, numbered through all columns."""
    n_held = np.zeros(n_items, np.int64)
    for column in columns:
        n_held += column.n_held
    starts = _starts(n_held)
    values = np.empty(starts[-1], np.int32)
    following = starts[:-1].copy()
    for column, place in zip(columns, places, strict=True):
        at = np.repeat(following - _starts(column.n_held)[:-1], column.n_held) + np.arange(len(column.by_item))
        values[at] = column.by_item + place.start
        following += column.n_held
    return starts, values


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where parts of these sizes begin, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
