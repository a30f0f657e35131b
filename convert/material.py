"""From a data set to what the training steps draw from: split, title trie, windows, and the counted prior beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge import prompts
from genrec_edge.catalog import Catalog
from genrec_edge.convert.batches import Assembler
from genrec_edge.convert.corpus import Corpus
from genrec_edge.convert.lessons import Lessons
from genrec_edge.errors import UsageError
from genrec_edge.index import IndexKey, build
from genrec_edge.interactions import Split, by_time, cold, histories, k_core, leave_one_out, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from genrec_edge.convert.recipe import Recipe
    from genrec_edge.interactions import Dataset

PriorOf = "Callable[[int, int, int], NDArray[np.float32]]"


@dataclass(frozen=True, slots=True)
class Material:
    """What a run trains on. `split` is None where everything is trained on, and nothing can be validated."""

    dataset: Dataset
    split: Split | None
    corpus: Corpus
    assembler: Assembler
    item_of_position: NDArray[np.int64]
    head: tuple[int, ...]


def split_of(dataset: Dataset, recipe: Recipe) -> tuple[Dataset, Split | None]:
    """Return the data set after the recipe's filter, and its split."""
    if recipe.data.min_count:
        dataset = k_core(dataset, recipe.data.min_count)
    ties = recipe.data.ties
    if recipe.data.split == "all":
        return dataset, None
    if recipe.data.split == "time":
        return dataset, by_time(dataset, ties)
    split = leave_one_out(dataset, ties)
    return dataset, cold(split) if recipe.data.split == "cold" else split


def prepare(
    name: str, recipe: Recipe, tokenize: Callable[[str], list[int]], prior: Callable[..., object] | None = None
) -> Material:
    """Load a data set and lay out what is drawn from it.

    Args:
        name: of the data set, or its folder.
        recipe: which events, which trie, which windows.
        tokenize: text to token ids, nothing added.
        prior: None, or (histories, n_items) -> (user, start, stop) -> log-probabilities of the items, cross-fitted.

    Raises:
        DatasetError: the data set is not there, or damaged.
        UsageError: the title has an end-of-title token in it, or nothing is left to train on.
    """
    dataset, split = split_of(load(name), recipe)
    train = histories(dataset, recipe.data.ties) if split is None else list(split.train)
    layout = prompts.LAYOUTS[recipe.prompt]
    head, tail, end = tokenize(layout.head), tokenize(layout.tail) if layout.tail else [], tokenize("\n")
    if len(end) != 1:
        raise UsageError("this tokenizer has no token for the end of a line", hint="the base is not supported")
    items = _items_of_trie(dataset, train, recipe)
    with Catalog.open(dataset.path / "catalog.db") as catalog:
        titles = {row: (title, year) for row, title, year in catalog.titles()}
    listed = [(int(item), *titles[int(dataset.rows[item])]) for item in items]
    index = build(listed, tokenize, IndexKey(dataset.card["interactions"]["sha256"], "training"))
    position_of = np.full(dataset.n_items, -1, np.int64)
    position_of[index.rows] = np.arange(index.n_items)
    corpus = Corpus(
        [position_of[history] for history in train],
        window=recipe.data.window,
        seed=recipe.seed,
        all_targets=recipe.data.targets == "all",
    )
    paths = [index.path(position) for position in range(index.n_items)]
    assembler = Assembler(Lessons(index, end[0]), paths, head, tail, end[0], _prior_of(prior, train, index.rows))
    return Material(dataset, split, corpus, assembler, index.rows, tuple(head))


def _items_of_trie(dataset: Dataset, train: list[NDArray[np.int32]], recipe: Recipe) -> NDArray[np.int64]:
    if recipe.objective.catalog == "data set":
        return np.arange(dataset.n_items)
    return np.unique(np.concatenate(train)).astype(np.int64)


def _prior_of(
    prior: Callable[..., object] | None, train: list[NDArray[np.int32]], rows: NDArray[np.int64]
) -> Callable[[int, int, int], NDArray[np.float32]] | None:
    """Return the prior over the positions of the trie; normalised again where the trie has fewer items."""
    if prior is None:
        return None
    counted = prior(train)

    def of(user: int, start: int, stop: int) -> NDArray[np.float32]:
        log_probs = counted(user, start, stop)[:, rows].astype(np.float64)  # type: ignore[operator]
        log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
        return log_probs.astype(np.float32)

    return of
