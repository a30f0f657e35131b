"""Recommend for many users in one process, each with an own filter; one JSON object a line.

    python examples/many_users.py [MODEL]

For files of users, and jobs that survive a kill, use `genrec-edge batch`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from genrec_edge import Interaction, Recommender, Request
from genrec_edge.catalog.writer import build

BOOKS_PATH = Path(__file__).with_name("books.csv")

USERS = {
    "ann": Request((Interaction("Pride and Prejudice"), Interaction("Jane Eyre")), k=3),
    "ben": Request((Interaction("Treasure Island"),), k=2, where="subject = 'Sea'"),
    "cem": Request((Interaction("A Study in Scarlet"), Interaction(id="b20")), k=3, exclude=("The Moonstone",)),
}


def main(model: str | None = None) -> None:
    """Print the recommendations of every user."""
    with tempfile.TemporaryDirectory() as folder:
        catalog_path = Path(folder, "books.db")
        build(BOOKS_PATH, catalog_path, lists=["subjects"])
        with Recommender.open(model, catalog_path) as recommender:
            results = recommender.recommend_many(list(USERS.values()))
    for user, result in zip(USERS, results, strict=True):
        print(json.dumps({"user": user, "items": [answer.item.id for answer in result.items], "exact": result.exact}))


if __name__ == "__main__":
    main(*sys.argv[1:])
