"""Reads the values of all items of a catalog for an index of facts, by queries over whole tables.

Values are those of list columns and of columns of texts, of the year and of the title:

* Texts are equal whatever the case of their ASCII letters, as `--where` has it for list columns. Numbers are no facts,
  nor are texts of digits and the marks between them: dates, ratings, sizes.
* Other titles in a column `aliases`, and how well known an item is, `known`, are no facts.
* A year is three values: two kinds of five years, half of which overlap, and ten years. So years that are near have
  more in common than those that are far.
* The words of a title are those of its key that have three letters or more.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.facts import may_hold_facts
from genrec_edge.prior.fact_build import ValuePairs, build
from genrec_edge.prior.facts import TITLE, YEAR
from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.coordinates import CatalogRows
    from genrec_edge.prior.facts import FactIndex

_PAGE = 20_000
"""Values that are read at once."""
_TITLES_PER_CHECK = 10_000
_NOT_A_NUMBER = "*[^0-9 .,:/%+-]*"
"""What GLOB finds in all texts but those of digits and the marks between them."""
_LEAST_LETTERS = 3


def read(catalog: Catalog, rows: CatalogRows, check: Callable[[], object] = lambda: None) -> FactIndex:
    """Return the facts of the items of a catalog.

    Args:
        catalog: if it is changed meanwhile, its revision afterwards is another one, and the index is of no one moment.
        rows: (n_items,) the row of each item of the index; other rows of the catalog are left out.
        check: called many times a second; it may raise.
    """
    positions = _Positions(rows)

    def columns() -> Iterator[ValuePairs]:
        for name in filter(may_hold_facts, catalog.list_columns):
            yield positions.of(name, *_list_pairs(catalog, name, check))
        for name in _text_columns(catalog):
            check()
            yield positions.of(name, *_text_pairs(catalog, name))
        check()
        yield positions.of(YEAR, *_year_pairs(catalog))
        yield positions.of(TITLE, *_word_pairs(catalog, check))

    return build(len(rows), columns(), check)


class _Positions:
    """The place of each row of a catalog in the order of an index."""

    def __init__(self, rows: CatalogRows) -> None:
        self._order = np.argsort(rows, kind="stable")
        self._sorted = rows[self._order]

    def of(self, name: str, values: NDArray[np.int64], rows: NDArray[np.int64], n_unlisted: int = 0) -> ValuePairs:
        """Return pairs of a value and a row as those of a value and an item; rows without a place are left out."""
        places = np.minimum(np.searchsorted(self._sorted, rows), len(self._sorted) - 1)
        is_known = self._sorted[places] == rows
        return ValuePairs(name, values[is_known], self._order[places[is_known]], n_unlisted)


def _list_pairs(
    catalog: Catalog, name: str, check: Callable[[], object]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of values of a list column, and the rows that have them."""
    # The index of the table is in this order, so that each page begins where the last one ended.
    query = (
        "SELECT value, count(*), group_concat(item, ' ') FROM item_values "
        f"WHERE field = ? AND value > ? AND value GLOB ? GROUP BY value ORDER BY value LIMIT {_PAGE}"
    )
    counts: list[int] = []
    parts: list[NDArray[np.int64]] = []
    last = ""
    while page := catalog.query(query, [name, last, _NOT_A_NUMBER]):
        check()
        counts += [count for _, count, _ in page]
        parts.append(_numbers(text for _, _, text in page))
        last = page[-1][0]
    return _numbered(counts), np.concatenate([np.empty(0, np.int64), *parts])


def _text_columns(catalog: Catalog) -> list[str]:
    """Return the other columns that hold texts and nothing else."""
    names = [name for name in catalog.item_columns if name not in catalog.list_columns and may_hold_facts(name)]
    if not names:
        return []
    counts = ", ".join(f"sum(typeof({quoted(name)}) NOT IN ('text', 'null'))" for name in names)
    (n_others,) = catalog.query(f"SELECT {counts} FROM items")
    return [name for name, n in zip(names, n_others, strict=True) if not n]


def _text_pairs(catalog: Catalog, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the numbers of values that rows share, the rows that have them, and how many rows have other values."""
    column = quoted(name)
    listed = catalog.query(
        f"SELECT count(*), group_concat(\"row\", ' ') FROM items WHERE {column} GLOB ? "
        f"GROUP BY {column} COLLATE NOCASE HAVING count(*) > 1",
        [_NOT_A_NUMBER],
    )
    ((n_all,),) = catalog.query(f"SELECT count(*) FROM items WHERE {column} GLOB ?", [_NOT_A_NUMBER])
    values, rows = _numbered([count for count, _ in listed]), _numbers(text for _, text in listed)
    return values, rows, n_all - len(rows)


def _year_pairs(catalog: Catalog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the three values of each year, and the rows that have them."""
    of_years = catalog.query(
        "SELECT year, count(*), group_concat(\"row\", ' ') FROM items WHERE year IS NOT NULL GROUP BY year"
    )
    years = np.repeat(np.array([year for year, _, _ in of_years], np.int64), [count for _, count, _ in of_years])
    rows = _numbers(text for _, _, text in of_years)
    kinds = (years // 5 * 3, (years + 2) // 5 * 3 + 1, years // 10 * 3 + 2)
    return np.unique(np.concatenate(kinds), return_inverse=True)[1], np.tile(rows, 3)


def _word_pairs(catalog: Catalog, check: Callable[[], object]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the words of titles, and the rows that have them."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__  # a new word gets the next number
    values, rows, n_words = array("q"), array("q"), array("q")
    for n, (row, key, _) in enumerate(catalog.title_keys()):
        if n % _TITLES_PER_CHECK == 0:
            check()
        words = {word for word in key.split() if len(word) >= _LEAST_LETTERS}
        values.extend(map(numbers.__getitem__, words))
        rows.append(row)
        n_words.append(len(words))
    return np.array(values, np.int64), np.repeat(np.array(rows, np.int64), np.array(n_words, np.int64))


def _numbered(counts: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of each value as often as it is counted."""
    return np.repeat(np.arange(len(counts)), np.array(counts, np.int64))


def _numbers(texts: Iterator[str]) -> NDArray[np.int64]:
    """Return the whole numbers in texts, with spaces between."""
    return np.fromstring(" ".join(texts), np.int64, sep=" ")
