"""From a data set to what training steps draw from: the split, windows of histories, title tries, and the prior."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.training.data import extra_titles
from genrec_edge.convert.training.data.collate import Collator
from genrec_edge.convert.training.data.extra_titles import PriorFunction
from genrec_edge.convert.training.data.instructions import InstructionSampler
from genrec_edge.convert.training.data.sequences import titles_example
from genrec_edge.convert.training.data.trie_targets import TrieTargets
from genrec_edge.convert.training.data.week_offsets import WeekOffsets
from genrec_edge.convert.training.data.windows import WindowSampler
from genrec_edge.coordinates import CatalogRow, TriePosition
from genrec_edge.datasets.events import group_by_user
from genrec_edge.datasets.histories import user_histories
from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.datasets.ratings import rated_at_least
from genrec_edge.datasets.splits import k_core, split_of
from genrec_edge.decoding import prompts
from genrec_edge.decoding.trie import TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.training.data.sequences import Example
    from genrec_edge.convert.training.data.week_offsets import OffsetFunction
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.engine.bindings import Model

CountPrior = Callable[["Dataset", Sequence[NDArray[np.int32]]], PriorFunction]
"""(data set, training histories) -> a prior that, for each user, leaves out the events of that user."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        dataset: the data set after the recipe's filter.
        split: None if all events are trained on and nothing is validated.
        windows: draws windows of the training histories.
        collators: one for each catalog that is trained on.
        seed: seed of all draws.
        extra_titles_revision: revision of the catalog that extra titles are from, or "".
        instructions: turns windows into instructions; None if all examples are plain lists of titles.
    """

    dataset: Dataset
    split: Split | None
    windows: WindowSampler
    collators: tuple[Collator, ...]
    seed: int
    extra_titles_revision: str
    instructions: InstructionSampler | None

    def examples(self, step: int, n: int) -> list[Example]:
        """Return the `n` examples of a step."""
        windows = self.windows.sample(step, n)
        if self.instructions is None:
            return [titles_example(window) for window in windows]
        return self.instructions.examples(windows, step)

    def collator(self, step: int) -> Collator:
        """Return the collator of a step, drawn by the seed."""
        rng = np.random.default_rng([self.seed, step, len(self.collators)])
        return self.collators[int(rng.integers(len(self.collators)))]

    @property
    def token_ids(self) -> list[int]:
        """All tokens that an example can have, ascending."""
        token_ids = set[int]() if self.instructions is None else set(self._word_ids(self.instructions))
        return sorted(token_ids.union(*(collator.token_ids for collator in self.collators)))

    def _word_ids(self, instructions: InstructionSampler) -> Iterator[int]:
        for text in instructions.texts():
            yield from self.collators[0].tokenize(text)


def write_vocabulary(base: Checkpoint, path: Path) -> None:
    """Write a GGUF with the base's vocabulary alone, so that training tokenises as the search does."""
    with atomic_write(path) as file:
        write_gguf(replace(base, tensors={}), file, {})


def prepare_training_data(
    dataset: Dataset, recipe: Recipe, vocabulary: Model, count_prior: CountPrior | None = None
) -> TrainingData:
    """Return what training steps draw from.

    Args:
        dataset: the whole data set.
        recipe: which events, which tries, which windows.
        vocabulary: the base's, for its tokens; see `write_vocabulary`.
        count_prior: counts the prior; None if the objective needs none.

    Raises:
        UsageError: nothing is left to train or to validate on, all titles are the same, or there is no catalog of
            extra titles.
        CatalogError: a title has no tokens, or the catalog of extra titles is damaged.
    """
    dataset, split = _filter_and_split(dataset, recipe)
    train = user_histories(dataset, recipe.data.ties) if split is None else list(split.train)
    windows = WindowSampler(
        [history.astype(np.int64) for history in train],
        window=recipe.data.window,
        seed=recipe.seed,
        all_targets=recipe.data.targets == "all",
        timestamps=_train_timestamps(dataset, split, recipe) if recipe.data.shuffle_ties else None,
        drop=recipe.data.drop,
    )
    extra = extra_titles.load_extra_titles(recipe.objective.others, dataset) if recipe.objective.others else None
    prior = None if count_prior is None else count_prior(dataset, train)
    offsets = WeekOffsets(dataset, train) if recipe.objective.offset == "week" else None
    instructions = None
    if set(recipe.forms) != {"history"}:
        item_facts = ItemFacts(facts_of(dataset), train)
        instructions = InstructionSampler(item_facts, recipe.forms, recipe.seed)
    return TrainingData(
        dataset,
        split,
        windows,
        _collators(dataset, train, recipe, vocabulary, extra, prior, offsets),
        recipe.seed,
        "" if extra is None else extra.revision,
        instructions,
    )


def _filter_and_split(dataset: Dataset, recipe: Recipe) -> tuple[Dataset, Split | None]:
    """Return the data set after the recipe's filter, and its split.

    Raises:
        UsageError: no events are left, or no user has a validation item.
    """
    dataset = rated_at_least(dataset, recipe.data.min_rating)
    if recipe.data.min_count:
        dataset = k_core(dataset, recipe.data.min_count)
    if recipe.data.split == "all":
        return dataset, None
    split = split_of(dataset, recipe.data.split, recipe.data.ties)
    if not (split.validation >= 0).any():
        message = f"no user of {dataset.name} has a validation item (data.split = {split.kind!r})"
        raise UsageError(message, hint='data.split = "all" trains on all events and validates nothing')
    return dataset, split


def _train_timestamps(dataset: Dataset, split: Split | None, recipe: Recipe) -> list[NDArray[np.float64]]:
    """Return the timestamps of each user's training events, oldest first."""
    all_items, all_times = group_by_user(
        dataset.timestamps, dataset.users, dataset.items, dataset.n_users, recipe.data.ties
    )
    if split is None:
        return all_times
    return [
        times[~np.isin(items, split.held_out)][: len(train)]
        for times, items, train in zip(all_times, all_items, split.train, strict=True)
    ]


def _collators(
    dataset: Dataset,
    train: Sequence[NDArray[np.int32]],
    recipe: Recipe,
    vocabulary: Model,
    extra: extra_titles.ExtraTitles | None,
    prior: PriorFunction | None,
    offsets: WeekOffsets | None,
) -> tuple[Collator, ...]:
    """Return a collator for each catalog: the data set's titles alone or with some of the extra titles."""
    n_events = sum(map(len, train))
    titles = [(CatalogRow(int(item)), *dataset.titles[item]) for item in _trie_items(dataset, train, recipe)]
    key = TrieKey(dataset.card["interactions"]["sha256"], "training")
    subsets = [np.empty(0, np.int64)] if extra is None else extra_titles.sample_subsets(extra, recipe.seed)
    collators = []
    for subset in subsets:
        added = [] if extra is None else [(CatalogRow(dataset.n_items + int(i)), *extra.titles[i]) for i in subset]
        trie = build(titles + added, vocabulary.tokenize, key)
        trie_prior = None
        if prior is not None:
            trie_prior = extra_titles.prior_over_trie(prior, trie.rows, dataset.n_items, n_events)
        trie_offsets = None if offsets is None else offsets.over_trie(trie.rows)
        collators.append(_collator(trie, dataset, recipe, vocabulary, trie_prior, trie_offsets))
    return tuple(collators)


def _trie_items(dataset: Dataset, train: Sequence[NDArray[np.int32]], recipe: Recipe) -> NDArray[np.int64]:
    """Return the data set's items whose titles are in the trie."""
    if recipe.objective.catalog == "data set":
        return np.arange(dataset.n_items)
    return np.unique(np.concatenate(train)).astype(np.int64)


def _collator(
    trie: TitleTrie,
    dataset: Dataset,
    recipe: Recipe,
    vocabulary: Model,
    prior: PriorFunction | None,
    offsets: OffsetFunction | None,
) -> Collator:
    trie_targets = TrieTargets(trie, vocabulary.newline_id)
    if not trie_targets.choices(0):
        raise UsageError(f"all titles of {dataset.name} are the same", hint="training needs at least two titles")
    position_of = np.full(dataset.n_items, -1, np.int64)
    is_item = trie.rows < dataset.n_items
    position_of[trie.rows[is_item]] = np.flatnonzero(is_item)
    head_ids, tail_ids = prompts.head_and_tail(prompts.LAYOUTS[recipe.prompt], vocabulary)
    return Collator(
        trie_targets,
        title_ids=[trie.path(TriePosition(position)) for position in range(trie.n_items)],
        position_of=position_of,
        head_ids=head_ids,
        tail_ids=tail_ids,
        end_id=vocabulary.newline_id,
        tokenize=vocabulary.tokenize,
        prior=prior,
        offsets=offsets,
        token_titles=recipe.lora.token_titles,
    )
