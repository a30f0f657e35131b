"""Keep a user's long history as a profile, and recommend from its summary and latest items.

    python examples/user_profile.py [MODEL]

The summary is made of the catalog's facts, five items at a time; no model is needed for that.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from genrec_edge import Catalog, Recommender
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.writer import build
from genrec_edge.profiles.records import ProfileEvent
from genrec_edge.profiles.store import ProfileStore
from genrec_edge.profiles.summaries import FactSummarizer

BOOKS_PATH = Path(__file__).with_name("books.csv")
READ = ["b10", "b11", "b13", "b14", "b17", "b16", "b01"]
"""Ids of the books that the user has read, oldest first."""


def main(model: str | None = None) -> None:
    """Print the summary of a user, recommend from it, and forget the user."""
    with tempfile.TemporaryDirectory() as folder:
        catalog_path = Path(folder, "books.db")
        build(BOOKS_PATH, catalog_path, lists=["subjects"])
        store = ProfileStore(Path(folder, "profiles.db"))  # without a path: the user's own

        with Catalog.open(catalog_path) as catalog:
            items = catalog.by_ids(READ)
            events = [ProfileEvent(item_id, items[item_id].title) for item_id in READ]
            update = store.update("ann", events, catalog, FactSummarizer(CatalogFacts(catalog)))
        print(f"{update.n_new} new books; summary: {update.profile.text}")

        user = store.context("ann")
        with Recommender.open(model, catalog_path) as recommender:
            result = recommender.recommend(user.recent, k=3, preference=user.preference, exclude=user.seen)
        for answer in result.items:
            print(answer.rank, answer.item.title)

        print(f"{store.forget('ann')} events deleted")


if __name__ == "__main__":
    main(*sys.argv[1:])
