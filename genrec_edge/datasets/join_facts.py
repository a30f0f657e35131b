"""Film facts beside a data set's items: genres, people, countries and languages out of the catalog that comes along.

An item is a film where title and year agree, or the years differ by one and no other film has the title: catalogs
disagree about films that were shown at a festival first. What is no film there keeps what its own table says.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from genrec_edge.catalog import writer
from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.titles import key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.records import Item

_COLUMNS = ("genres", "director", "cast", "country", "language", "runtime")


def with_facts(items: Path, work: Path, names: Mapping[str, Mapping[str, str]]) -> Path:
    """Write the items of a table as JSON lines with the facts of their films, and return the file.

    Args:
        items: any table that a catalog can be built of.
        work: a folder for what is written.
        names: by column, what values of the table are called among the films, "" for those that say nothing; used where
            an item is no film, or one of which nothing is known.

    Raises:
        UsageError, CatalogError: the table is none.
    """
    own = work / "own.db"
    writer.build(items, own)
    joined = work / "items.jsonl"
    with Catalog.open(own) as table, Catalog.open(default_catalog_path()) as films:
        rows = [row for row, _, _ in table.titles()]
        keys = {row: title_key for row, title_key, _ in table.title_keys()}
        found: dict[str, list[Item]] = {}
        for film in films.by_keys(keys.values()):
            found.setdefault(key(film.title), []).append(film)
        lists = {
            (row, column): values for row, column, values in _lists(films, [f for fs in found.values() for f in fs])
        }
        own_lists = table.list_values(rows, table.list_columns)
        with joined.open("w", encoding="utf-8") as file:
            for item in table.items(rows):
                its_film = the_film(item, found.get(keys[item.row], []))
                facts = _of_item(item, own_lists, names)
                if its_film is not None:
                    facts |= {column: value for column, value in _of_film(its_film, lists).items() if value}
                line = {"id": item.id, "title": item.title, "year": item.year, **facts}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    own.unlink()
    return joined


def the_film(item: Item, films: list[Item]) -> Item | None:
    """Return which of the films with an item's title it is, if that is clear."""
    same = [film for film in films if film.year == item.year]
    near = same or [film for film in films if abs((film.year or 0) - (item.year or 0)) <= 1]
    return near[0] if len(near) == 1 else None


def _lists(films: Catalog, found: list[Item]) -> list[tuple[int, str, list[str]]]:
    values = films.list_values([film.row for film in found], [c for c in _COLUMNS if c in films.list_columns])
    return [(row, column, listed) for (row, column), listed in values.items()]


def _of_film(film: Item, lists: Mapping[tuple[int, str], list[str]]) -> dict[str, Any]:
    return {column: lists.get((film.row, column), film.columns.get(column)) for column in _COLUMNS}


def _of_item(
    item: Item, lists: Mapping[tuple[int, str], list[str]], names: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    facts: dict[str, Any] = dict.fromkeys(_COLUMNS)
    for (row, column), values in lists.items():
        if row == item.row and column in facts:
            called = dict.fromkeys(names.get(column, {}).get(value, value) for value in values)
            facts[column] = [name for name in called if name]
    return facts
