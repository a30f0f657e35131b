"""SASRec, the usual neural baseline, from the library RePlay (`pip install replay-rec[torch]`).

    python -m benchmarks.sasrec --data ml-100k --k-core 0 --out sasrec.npz
    genrec-edge evaluate --data ml-100k --baselines all --scores sasrec=sasrec.npz

The model, its masks and its head are RePlay's; the loop around them is ours, since RePlay's wants its data sets and
Lightning. The loss is the full softmax over all items at every position (Klenitskiy and Vasilev, "Turning Dross Into
Gold Loss", RecSys 2023: that, not the paper's sampled binary loss, makes SASRec strong). Trained on `split.train`
alone; the number of epochs is the one with the best NDCG@10 on the validation items.

The settings were chosen by the same figure (ML-100K, 5-core, ties by file order): at length 100, dropout .5 has .107
and .3 has .098; at dropout .5, length 50 has .112 and 30 has .1125; width 128 at length 50 has .108.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genrec_edge.datasets.folder import load
from genrec_edge.datasets.ratings import rated_at_least
from genrec_edge.datasets.splits import k_core, split_of
from genrec_edge.evaluation.external_scores import save_scores
from genrec_edge.evaluation.metrics import hit, ndcg, rank_of
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.significance import estimate

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # RePlay's modules use what they deprecate
    from replay.data import FeatureHint, FeatureSource, FeatureType
    from replay.data.nn import TensorFeatureInfo, TensorFeatureSource, TensorSchema
    from replay.nn.sequential import SasRec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

BATCH = 16
LEARNING_RATE = 1e-3
CHECK_EVERY = 5
PATIENCE = 4
"""Checks on the validation items, one each CHECK_EVERY epochs, without a better one before training stops."""


class SASRec:
    """Self-attention over the history, as a `genrec_edge.evaluation.baselines.Baseline`.

    Args:
        width: of embeddings and layers.
        heads: of each attention.
        layers: transformer blocks.
        dropout: everywhere.
        length: the latest items of a history that are looked at; training takes a random window of that many.
        epochs: the most; without validation items, exactly.
        seed: of weights, windows and order.
        report: called with the epoch, its loss (nats) and the NDCG@10 on validation.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        heads: int = 2,
        layers: int = 2,
        dropout: float = 0.5,
        length: int = 30,
        epochs: int = 200,
        seed: int = 0,
        report: Callable[[int, float, float], object] = lambda *_: None,
    ) -> None:
        self._width, self._heads, self._layers = width, heads, layers
        self._dropout, self._length, self._epochs = dropout, length, epochs
        self._seed, self._report = seed, report
        self._model: Any  # RePlay has no types
        self._padding: int

    def fit(
        self,
        train: Sequence[NDArray[np.int32]],
        n_items: int,
        validation: NDArray[np.int32] | None = None,
    ) -> None:
        """Train, and keep the weights that rank the validation items, (n_users,) with -1 for none, best."""
        torch.manual_seed(self._seed)
        rng = np.random.default_rng(self._seed)
        self._padding = n_items
        self._model = self._new_model(n_items)
        optimizer = torch.optim.Adam(self._model.parameters(), LEARNING_RATE, betas=(0.9, 0.98))
        best, best_epoch = -1.0, 0
        kept = self._model.state_dict()
        for epoch in range(1, self._epochs + 1):
            loss = self._train_epoch(train, optimizer, rng)
            if validation is None or epoch % CHECK_EVERY:
                continue
            found = self._validate(train, validation)
            self._report(epoch, loss, found)
            if found > best:
                best, best_epoch = found, epoch
                kept = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}
            elif epoch - best_epoch >= PATIENCE * CHECK_EVERY:
                break
        self._model.load_state_dict(kept)
        self._model.eval()

    @torch.no_grad()
    def scores(self, history: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the logit of each item, (n_items,); of an empty history, zeros."""
        if not len(history):
            return np.zeros(self._padding)
        self._model.eval()
        items = torch.from_numpy(history[-self._length :].astype(np.int64))[None]
        last = self._hidden(items)[:, -1]
        return np.asarray(self._model.get_logits(last)[0].double().numpy())

    def _new_model(self, n_items: int) -> Any:
        """Return an untrained model; `n_items` itself is the padding."""
        feature = TensorFeatureInfo(
            "item",
            is_seq=True,
            feature_type=FeatureType.CATEGORICAL,
            embedding_dim=self._width,
            padding_value=n_items,
            cardinality=n_items,
            feature_hint=FeatureHint.ITEM_ID,
            feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item")],
        )
        return SasRec.from_params(
            TensorSchema([feature]),
            embedding_dim=self._width,
            num_heads=self._heads,
            num_blocks=self._layers,
            max_sequence_length=self._length,
            dropout=self._dropout,
        )

    def _hidden(self, items: torch.Tensor) -> torch.Tensor:
        """Return the hidden states, (n_users, length, width), of left-padded items, (n_users, length)."""
        hidden: torch.Tensor = self._model.body({"item": items}, items != self._padding)
        return hidden

    def _train_epoch(
        self, train: Sequence[NDArray[np.int32]], optimizer: torch.optim.Optimizer, rng: np.random.Generator
    ) -> float:
        """Go once through all users, one window each, and return the mean loss in nats per item."""
        self._model.train()
        total, n = 0.0, 0
        for items in self._batches(train, rng):
            inputs, targets = items[:, :-1], items[:, 1:]
            real = inputs != self._padding
            logits = self._model.get_logits(self._hidden(inputs)[real])
            loss = torch.nn.functional.cross_entropy(logits, targets[real])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(logits)
            n += len(logits)
        return total / max(n, 1)

    def _batches(self, train: Sequence[NDArray[np.int32]], rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Yield left-padded windows, (BATCH, up to length + 1) int64, of users of similar length in random order."""
        users = [user for user, history in enumerate(train) if len(history) > 1]
        lengths = [min(len(train[user]), self._length + 1) for user in users]
        order = np.argsort(np.array(lengths) + rng.uniform(0, 10, len(users)))
        batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        for batch in rng.permutation(len(batches)).tolist():
            windows = []
            for place in batches[batch].tolist():
                history = train[users[place]]
                start = rng.integers(max(len(history) - self._length, 1))
                windows.append(history[start : start + self._length + 1])
            longest = max(map(len, windows))
            padded = np.full((len(windows), longest), self._padding, np.int64)
            for row, window in zip(padded, windows, strict=True):
                row[longest - len(window) :] = window
            yield torch.from_numpy(padded)

    def _validate(self, train: Sequence[NDArray[np.int32]], validation: NDArray[np.int32]) -> float:
        """Return the mean NDCG@10 of the validation items, seen ones removed."""
        users = np.flatnonzero(validation >= 0)
        return float(ndcg(ranks_of(self, [train[user] for user in users.tolist()], validation[users]), 10).mean())


def ranks_of(model: SASRec, histories: Sequence[NDArray[np.int32]], targets: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the rank of each target after its history among all items not in the history."""
    ranks = []
    for history, target in zip(histories, targets, strict=True):
        scores = model.scores(history)
        allowed = np.ones(len(scores), np.bool_)
        allowed[history] = False
        ranks.append(rank_of(scores, int(target), allowed))
    return np.array(ranks)


def main() -> None:
    """Train on a data set's split and print the metrics of its test items."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--ties", choices=("file", "item"), default="file")
    parser.add_argument("--split", choices=("leave-one-out", "time"), default="leave-one-out")
    parser.add_argument("--min-rating", type=float, default=-math.inf, help="events rated lower are left out")
    parser.add_argument("--k-core", type=int, default=5, help="0 keeps all events")
    parser.add_argument("--out", type=Path, help="a .npz for `genrec-edge evaluate --scores sasrec=FILE`")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dataset = rated_at_least(load(options.data), options.min_rating)
    split = split_of(k_core(dataset, options.k_core) if options.k_core else dataset, options.split, options.ties)
    started = time.perf_counter()
    model = SASRec(
        seed=options.seed,
        report=lambda epoch, loss, found: print(f"epoch {epoch}: loss {loss:.3f}, validation NDCG@10 {found:.4f}"),
    )
    model.fit(split.train, split.n_items, split.validation)
    print(f"trained in {time.perf_counter() - started:.0f} s", split.card())
    cases = cases_of(split)
    if options.out:
        scores = np.full((dataset.n_users, split.n_items), np.nan, np.float32)
        for user, history in zip(cases.users.tolist(), cases.histories, strict=True):
            scores[user] = model.scores(history)
        save_scores(options.out, scores, split)
    ranks = ranks_of(model, cases.histories, cases.targets)
    print("HR@10", estimate(hit(ranks, 10)))
    print("NDCG@10", estimate(ndcg(ranks, 10)))


if __name__ == "__main__":
    main()
