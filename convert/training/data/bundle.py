"""From a data set to what the training steps draw from: split, title tries, windows, and the prior beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.training.data import extra_titles
from genrec_edge.convert.training.data.collate import Collator
from genrec_edge.convert.training.data.extra_titles import PriorOf
from genrec_edge.convert.training.data.instructions import InstructionSampler
from genrec_edge.convert.training.data.sequences import as_titles
from genrec_edge.convert.training.data.trie_targets import TrieTargets
from genrec_edge.convert.training.data.windows import WindowSampler
from genrec_edge.coordinates import CatalogRow, TriePosition
from genrec_edge.datasets.events import group_by_user
from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.datasets.splits import Split, k_core, split_of, user_histories
from genrec_edge.decoding import prompts
from genrec_edge.decoding.trie import TrieKey, build
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.training.data.sequences import Example
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.engine.bindings import Model

Count = Callable[[Sequence[NDArray[np.int32]], int], PriorOf]
"""(training histories, n_items) -> a prior that has not counted the events of the user whom it explains."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        split: None where everything is trained on, and nothing can be validated.
        assemblers: one for each catalog that is trained on.
        others: the revision of the catalog with the titles that no user has met, or "".
        instructor: makes instructions of windows; None where they are all plain histories.
    """

    dataset: Dataset
    split: Split | None
    corpus: WindowSampler
    assemblers: tuple[Collator, ...]
    seed: int
    others: str
    instructor: InstructionSampler | None

    def examples(self, step: int, n: int) -> list[Example]:
        """Return what a step is trained on: windows of histories, in the forms of the recipe."""
        windows = self.corpus.draw(step, n)
        return [as_titles(w) for w in windows] if self.instructor is None else self.instructor.examples(windows, step)

    def assembler(self, step: int) -> Collator:
        """Return the assembler of a step, drawn by the seed."""
        drawn = np.random.default_rng([self.seed, step, len(self.assemblers)]).integers(len(self.assemblers))
        return self.assemblers[int(drawn)]

    @property
    def token_ids(self) -> list[int]:
        """All tokens that are learned, ascending."""
        words = set[int]() if self.instructor is None else set(self._words_of(self.instructor))
        return sorted(words.union(*(assembler.token_ids for assembler in self.assemblers)))

    def _words_of(self, instructor: InstructionSampler) -> Iterator[int]:
        for text in instructor.texts():
            yield from self.assemblers[0].tokenize(text)


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


def prepare(dataset: Dataset, recipe: Recipe, vocabulary: Model, count: Count | None = None) -> TrainingData:
    """Lay out what is drawn from a data set.

    Args:
        dataset: all of it.
        recipe: which events, which tries, which windows.
        vocabulary: the base's, for its tokens; see `write_vocabulary`.
        count: how the prior is counted; None where the objective has none.

    Raises:
        UsageError: nothing is left to train on, or all titles are the same; there is no catalog of other titles.
        CatalogError: a title has no tokens; the catalog of other titles is damaged.
    """
    dataset, split = _held_out(dataset, recipe)
    train = user_histories(dataset, recipe.data.ties) if split is None else list(split.train)
    corpus = WindowSampler(
        [history.astype(np.int64) for history in train],
        window=recipe.data.window,
        seed=recipe.seed,
        all_targets=recipe.data.targets == "all",
        times=_times(dataset, split, recipe) if recipe.data.shuffle_ties else None,
        drop=recipe.data.drop,
    )
    prior = None if count is None else count(train, dataset.n_items)
    n_events = sum(map(len, train))
    items = [(CatalogRow(int(item)), *dataset.titles[item]) for item in _items_of_trie(dataset, train, recipe)]
    others = extra_titles.other_titles(recipe.objective.others, dataset) if recipe.objective.others else None
    beside = [np.empty(0, np.int64)] if others is None else extra_titles.drawn(others, recipe.seed)
    assemblers = []
    for which in beside:
        extra = [] if others is None else [(CatalogRow(dataset.n_items + int(i)), *others.titles[i]) for i in which]
        key = TrieKey(dataset.card["interactions"]["sha256"], "training")
        index = build(items + extra, vocabulary.tokenize, key)
        over = None if prior is None else extra_titles.prior_over(prior, index.rows, dataset.n_items, n_events)
        assemblers.append(_assembler(index, dataset, recipe, vocabulary, over))
    revision = "" if others is None else others.revision
    instructor = None
    if set(recipe.forms) != {"history"}:
        item_facts = ItemFacts(facts_of(dataset), train)
        instructor = InstructionSampler(item_facts, recipe.forms, recipe.seed)
    return TrainingData(dataset, split, corpus, tuple(assemblers), recipe.seed, revision, instructor)


def _assembler(
    index: TitleTrie, dataset: Dataset, recipe: Recipe, vocabulary: Model, prior: PriorOf | None
) -> Collator:
    lessons = TrieTargets(index, vocabulary.newline_id)
    if not lessons.choices(0):
        raise UsageError(f"all titles of {dataset.name} are the same", hint="there is nothing to choose between")
    position_of = np.full(dataset.n_items, -1, np.int64)
    is_known = index.rows < dataset.n_items
    position_of[index.rows[is_known]] = np.flatnonzero(is_known)
    layout = prompts.LAYOUTS[recipe.prompt]
    bos = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
    return Collator(
        lessons,
        paths=[index.path(TriePosition(position)) for position in range(index.n_items)],
        position_of=position_of,
        head=bos + vocabulary.tokenize(layout.head),
        tail=vocabulary.tokenize(layout.tail) if layout.tail else [],
        end_id=vocabulary.newline_id,
        tokenize=vocabulary.tokenize,
        prior=prior,
    )


def _times(dataset: Dataset, split: Split | None, recipe: Recipe) -> list[NDArray[np.float64]]:
    """Return the times of each user's training events, oldest first."""
    everything, times = group_by_user(
        dataset.timestamps, dataset.users, dataset.items, dataset.n_users, recipe.data.ties
    )
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
