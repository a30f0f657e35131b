"""Evaluate a ranking of your own on held-out interactions, without a model.

    python examples/own_scores.py [SCORES.npz]

With SCORES.npz the scores are also written as `genrec-edge evaluate --scores NAME=SCORES.npz` reads them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from genrec_edge.datasets.folder import load
from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files
from genrec_edge.datasets.splits import leave_one_out
from genrec_edge.evaluation.external_scores import save_scores
from genrec_edge.evaluation.metrics import hit, ndcg, rank_of
from genrec_edge.evaluation.protocol import cases_of

FOLDER = Path(__file__).parent


def main(scores_path: str | None = None) -> None:
    """Score items by how often they share a reader with the history; print HR@5 and NDCG@5."""
    with tempfile.TemporaryDirectory() as folder:
        data_path = import_files(
            FOLDER / "loans.csv",
            FOLDER / "books.csv",
            Path(folder, "loans"),
            DatasetInfo("loans", "Loans of a small library", "CC0-1.0"),
            ColumnNames(),
            force=False,
            on_event=lambda _stage, _done, _total: None,
        )
        split = leave_one_out(load(data_path), "file")

    readers = np.zeros((len(split.train), split.n_items), np.float32)  # who has read what, in the training part
    for user, history in enumerate(split.train):
        readers[user, history] = 1
    together = readers.T @ readers

    cases = cases_of(split)  # for each user: the history, and the item that is held out
    scores = np.full(readers.shape, np.nan, np.float32)
    ranks = []
    for user, history, target in zip(cases.users, cases.histories, cases.targets, strict=True):
        scores[user] = together[history].sum(axis=0)
        allowed = np.ones(split.n_items, bool)
        allowed[history] = False
        ranks.append(rank_of(scores[user], int(target), allowed))
    at = np.array(ranks)
    print(f"{len(ranks)} users: HR@5 {hit(at, 5).mean():.3f}, NDCG@5 {ndcg(at, 5).mean():.3f}")
    if scores_path:
        save_scores(Path(scores_path), scores, split)


if __name__ == "__main__":
    main(*sys.argv[1:])
