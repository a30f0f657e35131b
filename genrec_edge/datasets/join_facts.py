"""Adds facts of the shipped film catalog to the items of a data set: genres, people, countries and languages.

An item is the film that `films_by_title` finds. Items without a film keep their own facts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from genrec_edge.catalog import writer
from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.films_by_title import FilmsByTitle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.records import Item

_COLUMNS = ("genres", "director", "cast", "country", "language", "runtime")


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
        same_titles = films.by_keys(title_key for _, title_key, _ in table.title_keys())
        by_title = FilmsByTitle(same_titles)
        film_rows = [film.row for film in same_titles]
        lists = films.list_values(film_rows, [column for column in _COLUMNS if column in films.list_columns])
        own_lists = table.list_values(rows, table.list_columns)
        with joined.open("w", encoding="utf-8") as file:
            for item in table.items(rows):
                match = by_title.find(item.title, item.year)
                facts = _own_facts(item, own_lists, names)
                if match is not None:
                    facts |= {column: value for column, value in _film_facts(match, lists).items() if value}
                line = {"id": item.id, "title": item.title, "year": item.year, **facts}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    own.unlink()
    return joined


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
