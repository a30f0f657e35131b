"""Make a catalog from a CSV file, and filter recommendations by its columns.

    python examples/own_catalog.py [MODEL]

Every column of the file can be filtered. A list column holds several values a row, here separated by "|".
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from genrec_edge import Catalog, Recommender
from genrec_edge.catalog.writer import build

BOOKS_PATH = Path(__file__).with_name("books.csv")


def main(model: str | None = None) -> None:
    """Print short science fiction after two books."""
    with tempfile.TemporaryDirectory() as folder:
        catalog_path = Path(folder, "books.db")
        report = build(BOOKS_PATH, catalog_path, lists=["subjects"])
        print(f"{report.n_items} books; columns: {', '.join(report.columns)}; lists: {', '.join(report.list_columns)}")

        where = "subject = 'Science fiction' AND pages < 300"
        with Catalog.open(catalog_path) as catalog:
            print(f"{len(catalog.filter(where))} of them satisfy {where}")

        with Recommender.open(model, catalog_path) as recommender:
            for answer in recommender.recommend(["Frankenstein", "Dracula"], k=3, where=where).items:
                print(answer.rank, answer.item.title, answer.item.columns["author"], answer.item.columns["pages"])


if __name__ == "__main__":
    main(*sys.argv[1:])
