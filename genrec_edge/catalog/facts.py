"""The facts of a catalog: genres, people, countries, languages, decades, brands.

A fact is a value that several items may share, in the spelling of the catalog. Intentions are matched with facts,
preference summaries are made of them, and a model learns to state them. Which columns hold facts follows from the
catalog itself: every list column, every text column that is called after people or whose values are words that many
items share, and the year, as its decade. Numbers are no facts, nor are the columns `NO_FACTS`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from genrec_edge.catalog.name_columns import KNOWN, OTHER_TITLES
from genrec_edge.catalog.where_tokens import KEYWORDS
from genrec_edge.records import Fact
from genrec_edge.storage.column_roles import simple_name
from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from genrec_edge.catalog.reader import Catalog

DECADE = "decade"
"""The column of the facts that follow from the year."""

PERFORMERS = frozenset(
    """
    actor actors actress actresses cast narrator narrators performer performers singer singers star stars
    """.split()  # noqa: SIM905 - a list would have a line for each
)
"""Columns of people who are in an item, by their names in lower case."""
CREATORS = frozenset(
    """
    artist artists author authors band bands cinematographer composer composers conductor creator creators designer
    designers developer developers director directors editor editors illustrator illustrators lyricist maker makers
    musician musicians painter painters photographer producer producers screenwriter screenwriters songwriter
    songwriters translator writer writers
    """.split()  # noqa: SIM905 - a list would have a line for each
)
"""Columns of people who made an item."""

NO_FACTS = OTHER_TITLES | {KNOWN}
"""Columns that say nothing of what an item is like: no taste and no intention is made of them, nothing in common."""

_MAX_DISTINCT_SHARE = 1 / 20
"""Different values of a text column of facts, as a share of the items that have one."""
_MAX_VALUE_CHARACTERS = 40
_WORDS = re.compile(r"[^\W\d_][^\d.!?]*")
"""A value without digits and full stops: years as text and awards in sentences are not facts."""


def decade(year: int) -> str:
    """Return the decade of a year as a fact names it.

    >>> decade(1994)
    '1990s'
    """
    return f"{year // 10 * 10}s"


def decade_years(value: str) -> range:
    """Return the years of a decade.

    >>> decade_years("1990s")
    range(1990, 2000)
    """
    first = int(value[:-1])
    return range(first, first + 10)


class CatalogFacts:
    """The facts of a catalog, read from it when they are needed. May be shared between threads."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._columns: tuple[str, tuple[str, ...]] = ("", ())
        """The revision of the catalog, and the columns of facts."""
        self._shares: tuple[str, dict[Fact, float]] = ("", {})
        """The revision of the catalog, and the shares that were counted at it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold facts, the decade last; read again after the catalog was changed."""
        revision = self.catalog.revision
        if self._columns[0] != revision:
            lists = self.catalog.list_columns
            plain = [name for name in self.catalog.item_columns if name not in lists and self._holds_facts(name)]
            self._columns = (revision, (*filter(may_hold_facts, (*lists, *plain)), DECADE))
        return self._columns[1]

    def of(self, rows: Sequence[int]) -> list[tuple[Fact, ...]]:
        """Return the facts of each of these catalog rows, in the order of `columns`, list values as imported.

        Raises:
            KeyError: there is no such row.
        """
        found: defaultdict[int, list[Fact]] = defaultdict(list)
        columns = self.columns
        lists = [name for name in columns if name in self.catalog.list_columns]
        values = self.catalog.list_values(sorted(set(rows)), lists)
        for item in self.catalog.items(sorted(set(rows))):
            for column in columns:
                if column == DECADE:
                    found[item.row] += [] if item.year is None else [Fact(DECADE, decade(item.year))]
                elif column in lists:
                    found[item.row] += [Fact(column, value) for value in values.get((item.row, column), ())]
                elif isinstance(value := item.columns.get(column), str):
                    found[item.row].append(Fact(column, value))
        return [tuple(found[int(row)]) for row in rows]

    def values(self, column: str) -> Mapping[str, int]:
        """Return every value of a column of facts and how many items have it."""
        if column == DECADE:
            query = "SELECT (year / 10 * 10) || 's', count(*) FROM items WHERE year IS NOT NULL GROUP BY 1"
            return dict(self.catalog.query(query))
        if column in self.catalog.list_columns:
            query = "SELECT value, count(*) FROM item_values WHERE field = ? GROUP BY value"
            return dict(self.catalog.query(query, [column]))
        name = quoted(column)
        return dict(self.catalog.query(f"SELECT {name}, count(*) FROM items WHERE {name} IS NOT NULL GROUP BY 1"))

    def share(self, fact: Fact) -> float:
        """Return the share of the catalog's items that have a fact, 0..1."""
        revision = self.catalog.revision
        if self._shares[0] != revision:
            self._shares = (revision, {})
        shares = self._shares[1]
        if fact not in shares:
            shares[fact] = self._count(fact) / self.catalog.n_items
        return shares[fact]

    def _count(self, fact: Fact) -> int:
        if fact.column == DECADE:
            years = decade_years(fact.value)
            query = "SELECT count(*) FROM items WHERE year >= ? AND year < ?"
            parameters: list[str | int] = [years.start, years.stop]
        elif fact.column in self.catalog.list_columns:
            query = "SELECT count(*) FROM item_values WHERE field = ? AND value = ?"
            parameters = [fact.column, fact.value]
        else:
            query = f"SELECT count(*) FROM items WHERE {quoted(fact.column)} = ?"
            parameters = [fact.value]
        ((count,),) = self.catalog.query(query, parameters)
        return int(count)

    def _holds_facts(self, column: str) -> bool:
        name = quoted(column)
        ((n_filled, n_values, longest, n_numbers),) = self.catalog.query(
            f"SELECT count({name}), count(DISTINCT {name}), max(length({name})), "
            f"count(*) FILTER (WHERE typeof({name}) <> 'text') FROM items WHERE {name} IS NOT NULL"
        )
        if n_numbers or not n_values:
            return False
        if column.casefold() in PERFORMERS | CREATORS:
            return True
        if n_values > max(1, n_filled * _MAX_DISTINCT_SHARE) or longest > _MAX_VALUE_CHARACTERS:
            return False
        return all(_WORDS.fullmatch(value) for value in self.values(column) if isinstance(value, str))


def may_hold_facts(column: str) -> bool:
    """Whether a column may hold facts, by its name.

    >>> may_hold_facts("genres"), may_hold_facts("Aliases")
    (True, False)
    """
    return simple_name(column) not in NO_FACTS


def is_in_words(fact: Fact) -> bool:
    """Whether a fact has a letter: numbers, such as a stock or a price, say nothing of a taste.

    >>> is_in_words(Fact("genres", "Comedy")), is_in_words(Fact("stock", "0"))
    (True, False)
    """
    return any(character.isalpha() for character in fact.value)


def facts_condition(facts: Iterable[Fact]) -> str:
    """Return the condition that an item has all of these facts, as `Catalog.filter` takes it; empty without facts.

    >>> facts_condition([Fact("genres", "Comedy"), Fact("decade", "1990s"), Fact("director", "Jim O'Hara")])
    "genres = 'Comedy' AND year BETWEEN 1990 AND 1999 AND director = 'Jim O''Hara'"
    """
    return " AND ".join(_fact_condition(fact) for fact in facts)


def _fact_condition(fact: Fact) -> str:
    if fact.column == DECADE:
        years = decade_years(fact.value)
        return f"year BETWEEN {years.start} AND {years.stop - 1}"
    value = fact.value.replace("'", "''")
    is_plain = fact.column.isidentifier() and fact.column.isascii() and fact.column.lower() not in KEYWORDS
    name = fact.column if is_plain else quoted(fact.column)
    return f"{name} = '{value}'"


def facts_text(facts: Iterable[Fact]) -> str:
    """Return facts as they stand in prompts and summaries.

    >>> facts_text([Fact("genres", "Comedy"), Fact("decade", "1990s")])
    'Comedy, 1990s'
    """
    return ", ".join(fact.value for fact in facts)
