"""How good an adapter is now: merged, written as a GGUF, and asked by the runtime itself, with its exact decoder."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.convert.adapter import read_adapter
from genrec_edge.convert.gguf_writer import write_gguf
from genrec_edge.convert.merge import merged
from genrec_edge.convert.provenance import describe
from genrec_edge.dataset import CATALOG
from genrec_edge.evaluation import questions
from genrec_edge.files import atomic_write
from genrec_edge.metrics import hit, ndcg
from genrec_edge.recommender import Recommender
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint import Checkpoint
    from genrec_edge.convert.train_job import TrainJob
    from genrec_edge.interactions import Dataset, Split

K = 10


def look(base: Checkpoint, adapter: Path, dataset: Dataset, split: Split, job: TrainJob) -> dict[str, float]:
    """Return HR@10 and NDCG@10 on the validation items of some users, all items ranked, seen ones removed.

    The model is written beside the adapter for the time this takes.
    """
    gguf_path = adapter / "look.gguf"
    read = read_adapter(adapter, base.config)
    checkpoint = merged(base, [read])
    with atomic_write(gguf_path) as file:
        write_gguf(checkpoint, file, describe(checkpoint, [read], "look", "LicenseRef-none"))
    settings: dict[str, Any] = {"prior": job.prior} if job.recipe.objective.kind == "residual" else {}
    users = questions(split, target="validation", users=job.recipe.validation.users, seed=job.recipe.seed).users
    ranks = np.full(len(users), np.inf)
    n_items = Counter(dataset.titles)  # those of a title that was seen are gone together
    with Recommender.open(gguf_path, dataset.path / CATALOG, n_threads=job.n_threads, **settings) as recommender:
        for i, user in enumerate(users):
            history = [Interaction(id=dataset.item_ids[item]) for item in split.train[user]]
            seen = {dataset.titles[item] for item in split.train[user]}
            k = min(K, split.n_items - sum(n_items[title] for title in seen))
            if k < 1:
                continue
            found = [entry.item.id for entry in recommender.recommend(history, k=k).items]
            target = dataset.item_ids[split.validation[user]]
            if target in found:
                ranks[i] = found.index(target) + 1
    gguf_path.unlink()
    return {f"hr@{K}": float(hit(ranks, K).mean()), f"ndcg@{K}": float(ndcg(ranks, K).mean())}
