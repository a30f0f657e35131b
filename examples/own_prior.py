"""Count a prior from your own interactions, and add it to the score of a model.

    python examples/own_prior.py [MODEL]

The command line does the same: `genrec-edge data import`, `prior build --split all`, `recommend --prior-file FILE
--prior sequence`. Without `prior_kind` the counts are one part of all that is known without the model.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from genrec_edge import Recommender
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.histories import user_histories
from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files
from genrec_edge.prior.build import build

FOLDER = Path(__file__).parent


def main(model: str | None = None) -> None:
    """Print what the model recommends with the prior and without it."""
    with tempfile.TemporaryDirectory() as folder:
        info = DatasetInfo("loans", "Loans of a small library", "CC0-1.0")
        data_path = import_files(
            FOLDER / "loans.csv",
            FOLDER / "books.csv",
            Path(folder, "loans"),
            info,
            ColumnNames(),
            force=False,
            on_event=lambda _stage, _done, _total: None,
        )
        dataset = load(data_path)
        prior_path = Path(folder, "loans.prior")
        build(prior_path, dataset, user_histories(dataset, "file"), "file")
        print(f"{dataset.n_users} users, {dataset.n_items} books, {len(dataset.items)} loans")

        for weight in (0.0, 4.0):
            with Recommender.open(
                model, data_path / "catalog.db", prior=prior_path, prior_kind="sequence", prior_weight=weight
            ) as recommender:
                answers = recommender.recommend(["Emma", "Persuasion"], k=3).items
            print(f"prior weight {weight}: {'; '.join(answer.item.title for answer in answers)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
