"""Reads the films of Wikidata to 2014 out of the wheel of Bokeh's sample data, which has them in a database; CC0.

They are "the first films" here: version 0.1 shipped them alone, and their ids, titles and order stay.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

from genrec_edge.catalog import titles
from genrec_edge.errors import GenRecError
from genrec_edge.storage.files import path_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMBER = "bokeh_sampledata/_data/movies.db"
SHA256 = "1d9c6a02e488d0354b2309e16130c58820a91ac2ce417e814c5964f9579a65ac"

_QUERY = """
SELECT ID, imdbID, Title, Year, Genre, Director, "Cast", Country, Language, Runtime, Awards FROM omdb
ORDER BY imdbID, ID
"""
_LISTS = ("genres", "director", "cast", "country", "language")
_NAME_ENDS = frozenset({"Jr.", "Sr.", "II", "III", "PhD"})


def films(database_path: Path) -> Iterator[dict[str, object]]:
    """Yield the films in the order of their IMDb ids, which become `id`.

    Two pairs of films (a film and its other cut) share an IMDb id. The one with the larger Wikidata number gets that
    number appended to its id.
    """
    used: set[str] = set()
    with closing(sqlite3.connect(f"{database_path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for number, imdb_id, title, year, *lists, runtime, awards in connection.execute(_QUERY):
            film: dict[str, object] = {
                "id": imdb_id if imdb_id not in used else f"{imdb_id}-{number}",
                "title": titles.clean(title),
                "year": year,
            }
            used.add(imdb_id)
            film |= {name: split_names(text) for name, text in zip(_LISTS, lists, strict=True)}
            film["runtime"] = None if runtime is None else round(runtime)
            film["awards"] = awards
            yield {name: value for name, value in film.items() if value not in (None, [])}


def database(wheel_path: Path, folder: Path) -> Path:
    """Write the database of the wheel (or the database itself) into a folder; return its path.

    Raises:
        GenRecError: the wheel cannot be read, or the database is not the pinned one.
    """
    with path_errors(wheel_path):
        data = wheel_path.read_bytes()
    if zipfile.is_zipfile(wheel_path):
        with zipfile.ZipFile(wheel_path) as wheel:
            data = wheel.read(MEMBER)
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        message = f"{wheel_path} does not hold the pinned films: its sha256 is {found}, expected {SHA256}"
        raise GenRecError(message, hint="pip download --no-deps bokeh-sampledata==2026.1")
    path = folder / "movies.db"
    path.write_bytes(data)
    return path


def split_names(text: str | None) -> list[str]:
    """Split a text at its commas, except inside names such as "Robert Smigel, Jr."."""
    values: list[str] = []
    for value in map(str.strip, (text or "").split(",")):
        if value in _NAME_ENDS and values:
            values[-1] += f", {value}"
        elif value:
            values.append(value)
    return values
