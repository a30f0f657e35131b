"""Facts of specific intents: what is drawn, how often, and what nobody would name."""

from __future__ import annotations

import numpy as np

from genrec_edge.catalog.facts import DECADE
from genrec_edge.datasets.intent_phrases import specific_intent
from genrec_edge.records import Fact

GENRES = (Fact("genres", "Comedy"), Fact("genres", "War"))
NINETIES = Fact(DECADE, "1990s")
DIRECTOR, COUNTRY = Fact("director", "Ann Hui"), Fact("country", "France")
SHARES = {DIRECTOR: 0.05, COUNTRY: 0.1}


def test_an_intent_has_one_genre_often_a_decade_and_sometimes_another_fact() -> None:
    rng = np.random.default_rng(0)
    facts = (*GENRES, NINETIES, DIRECTOR, COUNTRY)
    drawn = [specific_intent(facts, rng, lambda fact: SHARES.get(fact, 0.5), 100) for _ in range(1000)]
    assert all(sum(fact in GENRES for fact in intent) == 1 for intent in drawn)
    assert 550 < sum(NINETIES in intent for intent in drawn) < 650
    assert 250 < sum(DIRECTOR in intent or COUNTRY in intent for intent in drawn) < 350
    assert not any(DIRECTOR in intent and COUNTRY in intent for intent in drawn)


def test_facts_of_very_few_and_of_very_many_items_are_not_named() -> None:
    rng = np.random.default_rng(1)
    for share in (0.02, 0.3, 0.9):
        drawn = [specific_intent((GENRES[0], DIRECTOR), rng, lambda _, s=share: s, 100) for _ in range(50)]  # type: ignore[misc]
        assert set(drawn) == {(GENRES[0],)}


def test_without_a_genre_the_decade_is_named_and_without_facts_nothing() -> None:
    rng = np.random.default_rng(2)
    assert {specific_intent((NINETIES,), rng, lambda _: 0.5, 100) for _ in range(20)} == {(NINETIES,)}
    assert specific_intent((), rng, lambda _: 0.5, 100) == ()
