"""Catalogs of any size for the benchmarks: the shipped films, or a table of films, and others made of them."""

from __future__ import annotations

import csv
import random
from itertools import count
from typing import TYPE_CHECKING

from genrec_edge.catalog import writer
from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FAMOUS = "awards IS NOT NULL AND year < 2005"
"""Films that histories are drawn from: the first of every catalog, so that all have them."""
SEQUELS = (
    "II",
    "III",
    "Part Two",
    "The Return",
    "The Beginning",
    "Revisited",
    "Forever",
    "Reloaded",
    "The Final Chapter",
)

Film = tuple[str, str, str]
"""Title, year and genres with "|" between them; the last two may be empty."""


def shipped_films() -> list[Film]:
    """Return the films that come with the package, the famous ones first."""
    with Catalog.open(default_catalog_path()) as films:
        famous = films.filter(FAMOUS).tolist()
        known = set(famous)
        rows = [*famous, *(row for row, _, _ in films.titles() if row not in known)]
        genres = films.list_values(rows, ["genres"])
        return [
            (item.title, "" if item.year is None else str(item.year), "|".join(genres.get((item.row, "genres"), ())))
            for item in films.items(rows)
        ]


def films_of(movies_path: Path) -> list[Film]:
    """Return the films of `movies.csv`, without genres."""
    with movies_path.open(encoding="utf-8") as file:
        return [(row["title"], row["year"], "") for row in csv.DictReader(file)]


def sequels(films: Sequence[Film], volume: int) -> Iterator[Film]:
    """Yield the next part of every film: names as alike as names can be."""
    more = "" if volume <= len(SEQUELS) else f" {1 + volume // len(SEQUELS)}"
    for title, year, genres in films:
        yield f"{title} {SEQUELS[(volume - 1) % len(SEQUELS)]}{more}", year, genres


def crosses(films: Sequence[Film], volume: int) -> Iterator[Film]:
    """Yield the first words of every film before the last words of another: names as different as films' names are."""
    others = list(films)
    random.Random(volume).shuffle(others)
    for (title, year, genres), (other, *_) in zip(films, others, strict=True):
        head, tail = title.split(), other.split()
        yield " ".join(head[: (len(head) + 1) // 2] + tail[len(tail) // 2 :]), year, genres


KINDS = {"sequels": sequels, "crosses": crosses}


def expanded(films: Sequence[Film], n: int, kind: str) -> Iterator[Film]:
    """Yield `n` films, no two of one title and year: those given, then those of a kind that are made of them."""
    seen: set[tuple[str, str]] = set()
    for volume in count():
        for film in KINDS[kind](films, volume) if volume else films:
            if film[:2] not in seen:
                seen.add(film[:2])
                yield film
            if len(seen) == n:
                return


def write_csv(path: Path, films: Iterator[Film]) -> None:
    """Write a catalog source."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("title", "year", "genres"))
        writer.writerows(films)


def make_catalog(films: Sequence[Film], n: int, kind: str, folder: Path) -> Path:
    """Make a catalog of `n` films in a folder and return its path."""
    source, path = folder / f"{n}.csv", folder / f"{n}.db"
    write_csv(source, expanded(films, n, kind))
    writer.build(source, path)
    return path


def shared_histories(n: int, seed: int) -> list[list[str]]:
    """Return histories of 20 titles that every catalog of this benchmark knows: famous films of the shipped one."""
    with Catalog.open(default_catalog_path()) as films:
        rows = films.filter(FAMOUS).tolist()
        titles = [f"{item.title} ({item.year})" for item in films.items(rows)]
    rng = random.Random(seed)
    return [rng.sample(titles, 60) for _ in range(n)]
