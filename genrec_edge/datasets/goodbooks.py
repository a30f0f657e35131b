"""Reads goodbooks-10k: ratings of books. Rows are in the order of time and say no time; their numbers stand for it."""

from __future__ import annotations

import csv
import json
import lzma
from typing import TYPE_CHECKING

from genrec_edge.datasets.events import EventOptions
from genrec_edge.datasets.folder import COLUMNS
from genrec_edge.datasets.source_files import SourceTables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATINGS, BOOKS = "ratings.csv.xz", "books.csv.xz"


def tables(folder: Path, work: Path) -> SourceTables:
    """Return the tables of the files in `folder`, written to `work`. Ratings are from 1 to 5."""
    events, books = work / "events.csv", work / "books.jsonl"
    with events.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, row in enumerate(_rows(folder / RATINGS), start=1):
            writer.writerow((row["user_id"], row["book_id"], number, row["rating"]))
    with books.open("w", encoding="utf-8") as file:
        for row in _rows(folder / BOOKS):
            year = row["original_publication_year"]
            book = {
                "id": row["book_id"],
                "title": row["title"],
                "authors": row["authors"].split(", "),
                "year": int(float(year)) if year else None,
                "language": row["language_code"] or None,
                "mean_rating": float(row["average_rating"]),
            }
            file.write(json.dumps(book, ensure_ascii=False) + "\n")
    return SourceTables(events, books, EventOptions(time_unit="s"))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
