"""Facts of items: what matches an intent, what is typical, and phrases, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES
from genrec_edge.datasets.item_facts import ItemFacts
from genrec_edge.records import Fact

COMEDY, DRAMA, NINETIES = Fact("genres", "Comedy"), Fact("genres", "Drama"), Fact("decade", "1990s")
FACTS = [(COMEDY,), (COMEDY, NINETIES), (DRAMA, NINETIES), (), (DRAMA,), (COMEDY, NINETIES)]
HISTORIES = [np.array([0, 1, 1]), np.array([2]), np.array([1, 3])]


@pytest.fixture
def item_facts() -> ItemFacts:
    return ItemFacts(FACTS, HISTORIES)


def test_items_match_an_intent_if_they_have_all_of_its_facts(item_facts: ItemFacts) -> None:
    assert np.flatnonzero(item_facts.matching_items([COMEDY, NINETIES])).tolist() == [1, 5]
    assert item_facts.matching_items([]).all()
    assert not item_facts.matching_items([Fact("genres", "Western")]).any()
    assert item_facts.share(COMEDY) == 3 / 6
    assert item_facts.shared() == [COMEDY, NINETIES, DRAMA]


def test_the_most_typical_item_has_most_in_common_and_is_the_latest_of_several(item_facts: ItemFacts) -> None:
    assert item_facts.most_typical([0, 2, 1]) == 1
    assert item_facts.most_typical([1, 5]) == 5
    assert item_facts.most_typical([5, 1]) == 1


def test_phrases_of_an_item_come_with_the_facts_they_are_made_of(item_facts: ItemFacts) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        vague = item_facts.intent_phrase(1, rng, is_vague=True)
        assert vague is not None
        assert vague[0] in VAGUE_PHRASES["Comedy"]
        assert vague[1] == (COMEDY,)
        specific = item_facts.intent_phrase(1, rng, is_vague=False)
        assert specific is not None
        assert set(specific[1]) <= set(FACTS[1])
        sampled = item_facts.sample_intent(1, rng)
        assert sampled is not None
        assert sampled[1][1]
    assert item_facts.intent_phrase(3, rng, is_vague=True) is None
    assert item_facts.sample_intent(3, rng) is None


def test_negatives_are_outside_of_the_history(item_facts: ItemFacts) -> None:
    rng = np.random.default_rng(1)
    assert {item for _ in range(100) for item in item_facts.negatives.sample(0, rng, 2)} == {2, 3, 4, 5}


def test_summaries_may_come_from_elsewhere() -> None:
    assert ItemFacts(FACTS, HISTORIES, lambda items: f"{len(items)} films").profile([1, 2]) == "2 films"
    assert "Comedy" in ItemFacts(FACTS, HISTORIES).profile([0, 1, 5])
