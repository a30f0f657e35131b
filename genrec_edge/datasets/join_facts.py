"""Adds facts of the shipped film catalog to the items of a data set: genres, people, countries and languages.

An item matches a film with the same title and year, or with a year that differs by one if that is the only such film:
catalogs disagree about films that were shown at a festival first. Items without a film keep their own facts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from genrec_edge.catalog import writer
from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.titles import key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.records import Item

_COLUMNS = ("genres", "director", "cast", "country", "language", "runtime")


class _Dated(Protocol):
    @property
    def year(self) -> int | None: ...


_Film = TypeVar("_Film", bound=_Dated)


def with_facts(items: Path, work: Path, names: Mapping[str, Mapping[str, str]]) -> Path:
    """Write the items of a table as JSON lines with the facts of their films, and return the file.

    Args:
        items: any table that a catalog can be built of.
        work: a folder for the files written.
        names: by column, the film catalog's name of each value of the table, "" to drop it; for facts that are not in
            the film catalog.

    Raises:
        UsageError, CatalogError: the table cannot be read.
    """
    own = work / "own.db"
    writer.build(items, own)
    joined = work / "items.jsonl"
    with Catalog.open(own) as table, Catalog.open(default_catalog_path()) as films:
        rows = [row for row, _, _ in table.titles()]
        keys = {row: title_key for row, title_key, _ in table.title_keys()}
        films_by_key: dict[str, list[Item]] = {}
        for film in films.by_keys(keys.values()):
            films_by_key.setdefault(key(film.title), []).append(film)
        film_rows = [film.row for same_key in films_by_key.values() for film in same_key]
        lists = films.list_values(film_rows, [column for column in _COLUMNS if column in films.list_columns])
        own_lists = table.list_values(rows, table.list_columns)
        with joined.open("w", encoding="utf-8") as file:
            for item in table.items(rows):
                match = matching_film(item, films_by_key.get(keys[item.row], []))
                facts = _own_facts(item, own_lists, names)
                if match is not None:
                    facts |= {column: value for column, value in _film_facts(match, lists).items() if value}
                line = {"id": item.id, "title": item.title, "year": item.year, **facts}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    own.unlink()
    return joined


def matching_film(item: _Dated, films: list[_Film]) -> _Film | None:
    """Return the film that an item is, among those with its title, or None if none or several match."""
    same = [film for film in films if film.year == item.year]
    near = same or [film for film in films if abs((film.year or 0) - (item.year or 0)) <= 1]
    return near[0] if len(near) == 1 else None


def _film_facts(film: Item, lists: Mapping[tuple[int, str], list[str]]) -> dict[str, Any]:
    return {column: lists.get((film.row, column), film.columns.get(column)) for column in _COLUMNS}


def _own_facts(
    item: Item, lists: Mapping[tuple[int, str], list[str]], names: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    facts: dict[str, Any] = dict.fromkeys(_COLUMNS)
    for (row, column), values in lists.items():
        if row == item.row and column in facts:
            renamed = dict.fromkeys(names.get(column, {}).get(value, value) for value in values)
            facts[column] = [name for name in renamed if name]
    return facts
