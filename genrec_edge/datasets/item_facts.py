"""Facts of the items of a data set, and what follows from them for users. Knows no models, no prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.facts import CatalogFacts, facts_text
from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES, specific_intent
from genrec_edge.datasets.negatives import NegativeSampler
from genrec_edge.profiles.tastes import profile_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.records import Fact

_VAGUE_SHARE = 0.3
"""Share of intents that are vague."""


def facts_of(dataset: Dataset) -> list[tuple[Fact, ...]]:
    """Return the facts of each item of a data set."""
    with Catalog.open(dataset.catalog_path) as catalog:
        return CatalogFacts(catalog).of(dataset.rows.tolist())


class ItemFacts:
    """The facts of the items of a data set, by item index.

    Args:
        facts: of each item.
        histories: of each user, item indexes.
        summarise: from items, oldest first, to a summary of the user's taste, which may be empty; None summarises
            their facts.
    """

    def __init__(
        self,
        facts: Sequence[tuple[Fact, ...]],
        histories: Sequence[NDArray[np.integer]],
        summarise: Callable[[Sequence[int]], str] | None = None,
    ) -> None:
        self.facts = facts
        self.n_items = len(facts)
        self._summarise = summarise
        self._items_with: dict[Fact, list[int]] = {}
        for item, own_facts in enumerate(facts):
            for fact in own_facts:
                self._items_with.setdefault(fact, []).append(item)
        self.negatives = NegativeSampler(histories, self.n_items)

    def of(self, items: Sequence[int]) -> list[tuple[Fact, ...]]:
        """Return the facts of each of these items."""
        return [self.facts[item] for item in items]

    def share(self, fact: Fact) -> float:
        """Return the share of items that have a fact."""
        return len(self._items_with.get(fact, ())) / self.n_items

    def matching_items(self, facts: Sequence[Fact]) -> NDArray[np.bool_]:
        """Return the items that have all of these facts, (n_items,)."""
        matches = np.ones(self.n_items, np.bool_)
        for fact in facts:
            has_fact = np.zeros(self.n_items, np.bool_)
            has_fact[self._items_with.get(fact, [])] = True
            matches &= has_fact
        return matches

    def shared(self) -> list[Fact]:
        """Return the facts that more than one item has; only these occur in summaries and intents."""
        return [fact for fact, items in self._items_with.items() if len(items) > 1]

    def profile(self, items: Sequence[int]) -> str:
        """Return a summary in words of the taste that items, oldest first, show; may be empty."""
        if self._summarise is not None:
            return self._summarise(items)
        return profile_text(self.of(items), self.share)

    def most_typical(self, items: Sequence[int]) -> int:
        """Return the item that has the most facts in common with the others; of several, the latest."""
        sets = [frozenset(self.facts[item]) for item in items]
        common = [sum(len(own & other) for other in sets) - len(own) for own in sets]
        return items[len(items) - 1 - int(np.argmax(common[::-1]))]

    def sample_intent(self, item: int, rng: np.random.Generator) -> tuple[str, NDArray[np.bool_]] | None:
        """Return a phrase for an item, vague or specific, and the items that match it; None without facts."""
        intent = self.intent_phrase(item, rng, is_vague=bool(rng.random() < _VAGUE_SHARE))
        if intent is None:
            return None
        phrase, facts = intent
        return phrase, self.matching_items(facts)

    def intent_phrase(
        self, item: int, rng: np.random.Generator, *, is_vague: bool
    ) -> tuple[str, tuple[Fact, ...]] | None:
        """Return a phrase for an item by some of its facts, and these facts; None without facts."""
        facts = self.facts[item]
        if not is_vague:
            chosen = specific_intent(facts, rng, self.share, self.n_items)
            return (facts_text(chosen), chosen) if chosen else None
        genres = [fact for fact in facts if fact.value in VAGUE_PHRASES]
        if not genres:
            return None
        fact = genres[int(rng.integers(len(genres)))]
        sentences = VAGUE_PHRASES[fact.value]
        return sentences[int(rng.integers(len(sentences)))], (fact,)
