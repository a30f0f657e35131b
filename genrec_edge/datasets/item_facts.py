"""What the facts of a data set's items say of them and of those who chose them. Knows no models and no prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.facts import CatalogFacts, facts_text
from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import CATALOG
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES, specific_intent
from genrec_edge.profiles.tastes import profile_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.records import Fact

_VAGUELY = 0.3
"""How often an intention is vague."""


def facts_of(dataset: Dataset) -> list[tuple[Fact, ...]]:
    """Return the facts of each item of a data set."""
    with Catalog.open(dataset.path / CATALOG) as catalog:
        return CatalogFacts(catalog).of(dataset.rows.tolist())


class ItemFacts:
    """What the facts of a data set's items say of them, item by item.

    Args:
        facts: of each item.
        histories: of each user, item indexes; what is not in one was not met by that user.
        summarise: says in words what some items, oldest first, tell of who chose them; may return nothing. None takes
            the summary of their facts.
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
        self._having: dict[Fact, list[int]] = {}
        for item, known in enumerate(facts):
            for fact in known:
                self._having.setdefault(fact, []).append(item)
        self._events = np.concatenate(list(histories))
        self._met = [frozenset(history.tolist()) for history in histories]

    def of(self, items: Sequence[int]) -> list[tuple[Fact, ...]]:
        """Return the facts of each of these items."""
        return [self.facts[item] for item in items]

    def share(self, fact: Fact) -> float:
        """Return the share of items that have a fact."""
        return len(self._having.get(fact, ())) / self.n_items

    def matching_items(self, wanted: Sequence[Fact]) -> NDArray[np.bool_]:
        """Return the items that have all of these facts, (n_items,)."""
        fits = np.ones(self.n_items, np.bool_)
        for fact in wanted:
            has = np.zeros(self.n_items, np.bool_)
            has[self._having.get(fact, [])] = True
            fits &= has
        return fits

    def shared(self) -> list[Fact]:
        """Return the facts that more than one item has: no others are ever said of a history, or asked for."""
        return [fact for fact, having in self._having.items() if len(having) > 1]

    def profile(self, items: Sequence[int]) -> str:
        """Return what some items, oldest first, say of who chose them; may be empty."""
        if self._summarise is not None:
            return self._summarise(items)
        return profile_text(self.of(items), self.share)

    def most_typical(self, items: Sequence[int]) -> int:
        """Return which of some items has the most facts in common with the others, the latest of several."""
        sets = [frozenset(self.facts[item]) for item in items]
        common = [sum(len(own & other) for other in sets) - len(own) for own in sets]
        return items[len(items) - 1 - int(np.argmax(common[::-1]))]

    def sample_intent(self, item: int, rng: np.random.Generator) -> tuple[str, NDArray[np.bool_]] | None:
        """Return words that ask for an item, vague or specific, and the items that fit them; None without facts."""
        wanted = self.intent_phrase(item, rng, is_vague=bool(rng.random() < _VAGUELY))
        return None if wanted is None else (wanted[0], self.matching_items(wanted[1]))

    def intent_phrase(
        self, item: int, rng: np.random.Generator, *, is_vague: bool
    ) -> tuple[str, tuple[Fact, ...]] | None:
        """Return words that ask for an item by some of its facts, and these facts; None where there are none."""
        facts = self.facts[item]
        if not is_vague:
            wanted = specific_intent(facts, rng, self.share, self.n_items)
            return (facts_text(wanted), wanted) if wanted else None
        genres = [fact for fact in facts if fact.value in VAGUE_PHRASES]
        if not genres:
            return None
        fact = genres[int(rng.integers(len(genres)))]
        sentences = VAGUE_PHRASES[fact.value]
        return sentences[int(rng.integers(len(sentences)))], (fact,)

    def sample_negatives(self, user: int, rng: np.random.Generator, n: int, *, popular: bool = False) -> list[int]:
        """Return items that the user has not met, drawn uniformly, or as often as others meet them."""
        drawn: list[int] = []
        while len(drawn) < n:
            item = int(rng.choice(self._events)) if popular else int(rng.integers(self.n_items))
            if item not in self._met[user] and item not in drawn:
                drawn.append(item)
        return drawn
