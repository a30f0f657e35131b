"""Reads MovieTweetings: ratings of films out of tweets. Its items are all films that come with the package.

The film of an event is the film of the package with its IMDb id, else one that has no IMDb id there and the same title
and year, as `films_by_title` finds it; a film with another IMDb id is another film. Events of all other films have
the title as their item, so that whoever reads them can say what was left out.
"""

from __future__ import annotations

import csv
import json
import lzma
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.catalog.default_catalog import shipped_films_path
from genrec_edge.catalog.titles import split_year
from genrec_edge.datasets.events import EventOptions
from genrec_edge.datasets.films_by_title import FilmsByTitle
from genrec_edge.datasets.folder import COLUMNS
from genrec_edge.datasets.source_files import SourceTables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATINGS, MOVIES = "ratings.dat.xz", "movies.dat.xz"
_IMDB_ID = re.compile(r"tt\d+")


@dataclass(frozen=True, slots=True)
class _Film:
    id: str
    title: str
    year: int | None


def other_files() -> tuple[Path, ...]:
    """Return the files that the tables are made of besides those of the folder."""
    return (shipped_films_path(),)


def tables(folder: Path, work: Path) -> SourceTables:
    """Return the tables of the files in `folder`; what has to be written goes to `work`. Ratings are from 0 to 10."""
    films = shipped_films_path()
    id_of = item_ids(folder / MOVIES, films)
    events = work / "events.csv"
    with events.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for user, film, rating, timestamp in _rows(folder / RATINGS):
            writer.writerow((user, id_of[film], timestamp, rating))
    return SourceTables(events, films, EventOptions(time_unit="s", skip_unknown=True))


def item_ids(movies: Path, films: Path) -> dict[str, str]:
    """Return the id of the package's film for each film of MovieTweetings, by its number; its title if there is none.

    MovieTweetings writes IMDb's "tt0054890" as "0054890". Where two films have a title and a year, the id is added.
    """
    known: set[str] = set()
    without_imdb_id: list[_Film] = []
    with lzma.open(films, "rt", encoding="utf-8") as file:
        for line in file:
            film = json.loads(line)
            known.add(film["id"])
            if not _IMDB_ID.match(film["id"]):
                without_imdb_id.append(_Film(film["id"], film["title"], film.get("year")))
    by_title = FilmsByTitle(without_imdb_id)
    rated = list(_rows(movies))
    n_titled = Counter(titled for _, titled, _ in rated)
    found = {}
    for number, titled, _ in rated:
        imdb_id = f"tt{number}"
        if imdb_id in known:
            found[number] = imdb_id
            continue
        title, year = split_year(titled)
        match = by_title.find(title, year)
        name = titled if n_titled[titled] == 1 else f"{titled} {imdb_id}"
        found[number] = name if match is None else match.id
    return found


def _rows(path: Path) -> Iterator[list[str]]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n").split("::")
