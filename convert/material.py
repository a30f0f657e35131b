"""From a data set to what the training steps draw from: split, title trie, windows, and the prior beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genrec_edge import prompts
from genrec_edge.convert.batches import Assembler
from genrec_edge.convert.corpus import Corpus
from genrec_edge.convert.gguf_writer import write_gguf
from genrec_edge.convert.lessons import Lessons
from genrec_edge.errors import UsageError
from genrec_edge.events import by_user
from genrec_edge.files import atomic_write
from genrec_edge.index import IndexKey, build
from genrec_edge.interactions import Split, histories, k_core, split_of

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint import Checkpoint
    from genrec_edge.convert.recipe import Recipe
    from genrec_edge.interactions import Dataset
    from genrec_edge.llama import Model

PriorOf = Callable[[int, NDArray[np.integer], int], NDArray[np.float32]]
"""(user, history, start) -> log-probabilities of all items at the places of a history from `start` on, a row each."""
Count = Callable[[Sequence[NDArray[np.int32]], int], PriorOf]
"""(training histories, n_items) -> a prior that has not counted the events of the user whom it explains."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a run trains on. `split` is None where everything is trained on, and nothing can be validated."""

    dataset: Dataset
    split: Split | None
    corpus: Corpus
    assembler: Assembler


def write_vocabulary(base: Checkpoint, path: Path) -> None:
    """Write a GGUF with the base's vocabulary alone: titles are cut for training by what cuts them for the search."""
    with atomic_write(path) as file:
        write_gguf(replace(base, tensors={}), file, {})


def _held_out(dataset: Dataset, recipe: Recipe) -> tuple[Dataset, Split | None]:
    """Return the data set after the recipe's filter, and its split.

    Raises:
        UsageError: nothing is left to train on or to ask for.
    """
    if recipe.data.min_count:
        dataset = k_core(dataset, recipe.data.min_count)
    if recipe.data.split == "all":
        return dataset, None
    split = split_of(dataset, recipe.data.split, recipe.data.ties)
    if not (split.validation >= 0).any():
        hint = 'data.split = "all" trains on everything, and validates nothing'
        raise UsageError(f"no user of {dataset.name} has a validation item ({split.kind})", hint=hint)
    return dataset, split


def prepare(dataset: Dataset, recipe: Recipe, vocabulary: Model, count: Count | None = None) -> Material:
    """Lay out what is drawn from a data set.

    Args:
        dataset: all of it.
        recipe: which events, which trie, which windows.
        vocabulary: the base's, for its tokens; see `write_vocabulary`.
        count: how the prior is counted; None where the objective has none.

    Raises:
        UsageError: nothing is left to train on, or all titles are the same.
        CatalogError: a title has no tokens.
    """
    dataset, split = _held_out(dataset, recipe)
    train = histories(dataset, recipe.data.ties) if split is None else list(split.train)
    listed = [(int(item), *dataset.titles[item]) for item in _items_of_trie(dataset, train, recipe)]
    index = build(listed, vocabulary.tokenize, IndexKey(dataset.card["interactions"]["sha256"], "training"))
    lessons = Lessons(index, vocabulary.newline_id)
    if not lessons.choices(0):
        raise UsageError(f"all titles of {dataset.name} are the same", hint="there is nothing to choose between")
    position_of = np.full(dataset.n_items, -1, np.int64)
    position_of[index.rows] = np.arange(index.n_items)
    corpus = Corpus(
        [position_of[history] for history in train],
        window=recipe.data.window,
        seed=recipe.seed,
        all_targets=recipe.data.targets == "all",
        times=_times(dataset, split, recipe) if recipe.data.shuffle_ties else None,
        drop=recipe.data.drop,
    )
    layout = prompts.LAYOUTS[recipe.prompt]
    bos = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
    assembler = Assembler(
        lessons,
        paths=[index.path(position) for position in range(index.n_items)],
        head=bos + vocabulary.tokenize(layout.head),
        tail=vocabulary.tokenize(layout.tail) if layout.tail else [],
        end_id=vocabulary.newline_id,
        prior=None if count is None else _on_positions(count(train, dataset.n_items), index.rows),
    )
    return Material(dataset, split, corpus, assembler)


def _times(dataset: Dataset, split: Split | None, recipe: Recipe) -> list[NDArray[np.float64]]:
    """Return the times of each user's training events, oldest first."""
    everything, times = by_user(dataset.timestamps, dataset.users, dataset.items, dataset.n_users, recipe.data.ties)
    if split is None:
        return times
    return [
        when[~np.isin(items, split.held_out)][: len(train)]
        for when, items, train in zip(times, everything, split.train, strict=True)
    ]


def _items_of_trie(dataset: Dataset, train: Sequence[NDArray[np.int32]], recipe: Recipe) -> NDArray[np.int64]:
    if recipe.objective.catalog == "data set":
        return np.arange(dataset.n_items)
    return np.unique(np.concatenate(train)).astype(np.int64)


def _on_positions(prior: PriorOf, items: NDArray[np.int64]) -> PriorOf:
    """Return the prior over the positions of the trie; normalised again, where the trie has fewer items."""

    def on_positions(user: int, history: NDArray[np.integer], start: int) -> NDArray[np.float32]:
        log_probs = prior(user, items[history], start)[:, items].astype(np.float64)
        log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
        return log_probs.astype(np.float32)

    return on_positions
