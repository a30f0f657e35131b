"""Descriptions of histories and questions for items by a random LLaMA, beside its logits read one prompt at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import Recommender
from genrec_edge.catalog.facts import facts_text
from genrec_edge.catalog.writer import build
from genrec_edge.decoding import prompts
from genrec_edge.errors import NothingToRecommendError
from genrec_edge.profiles.tastes import profile_text
from genrec_edge.records import Fact
from genrec_edge.serving import describe
from tests.support.recommenders import HISTORY, log_softmax, nats_of, row_of, user_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def test_a_description_ranks_what_makes_the_history_likelier(twelve_films: Recommender, logits_after: Any) -> None:
    """Each title alone, without the others; that a director made half of the catalog's films, too, is not said."""
    titles = (*HISTORY, "Ran")
    facts = twelve_films.session.facts.of([row_of(twelve_films, title) for title in titles])
    known = {fact for of_one in facts for fact in of_one}
    counts = {fact: sum(fact in of_one for of_one in facts) for fact in known}
    sayable = {fact for fact in known if fact.column in {"genres", "decade"}}
    assert sayable < known

    def nats(**texts: Any) -> float:
        prompt = user_prompt(twelve_films, (), **texts)
        return sum(nats_of(twelve_films, logits_after, prompt, title) for title in titles)

    expected = {fact: (nats(wanted=fact.value) - nats()) / len(titles) for fact in sayable}
    found = twelve_films.describe(titles, k=50)
    assert {trait.fact: trait.nats for trait in found.traits} == pytest.approx(expected, abs=1e-3)
    assert [t.nats for t in found.traits] == sorted((t.nats for t in found.traits), reverse=True)
    assert all(trait.n_items == counts[trait.fact] for trait in found.traits)
    assert found.summary == profile_text(facts, twelve_films.session.facts.share)
    assert len(twelve_films.describe(titles, k=2).traits) == 2


def test_people_are_said_of_a_history_only_if_it_has_more_of_them_than_the_catalog() -> None:
    ann, cy, drama, war = (
        Fact("director", "Ann"),
        Fact("director", "Cy"),
        Fact("genres", "Drama"),
        Fact("genres", "War"),
    )
    items_by_id = [(drama, ann), (drama, cy), (war, ann), (drama,)]
    assert describe.facts_of_many(items_by_id, lambda _: 0.1) == {drama: 3, war: 1, ann: 2}
    assert describe.facts_of_many(items_by_id, lambda _: 0.25) == {drama: 3, war: 1}
    assert describe.facts_of_many(items_by_id[:2], lambda _: 0.1) == {drama: 2, ann: 1, cy: 1}
    stocked = [(*facts, Fact("stock", "0"), Fact("sizes", "38")) for facts in items_by_id]
    assert describe.facts_of_many(stocked, lambda _: 0.1) == {drama: 3, war: 1, ann: 2}


def test_what_everything_has_is_not_nothing(tiny_llama: Path, tmp_path: Path, own_cache: None) -> None:
    (tmp_path / "c.csv").write_text("title,author\nA,Ann\nB,Ann\nC,Ann\n")
    build(tmp_path / "c.csv", tmp_path / "c.db")
    with (
        Recommender.open(tiny_llama, tmp_path / "c.db", n_threads=1) as recommender,
        pytest.raises(NothingToRecommendError, match="says nothing of these items that is rarer elsewhere"),
    ):
        recommender.describe(["A"])


def phrase_shares(
    r: Recommender, logits_after: Any, prompt: Sequence[int], phrases: Sequence[tuple[Fact, ...]]
) -> dict[tuple[Fact, ...], float]:
    """Return the share of each phrase: at every token a softmax over what some phrase goes on with."""
    model = r.session.engine.model
    paths = {facts: (*model.tokenize(f" {facts_text(facts)}"), model.newline_id) for facts in phrases}
    shares = {}
    for facts, path in paths.items():
        rows, nats = logits_after([*prompt, *path])[len(prompt) - 1 : -1], 0.0
        for n, token in enumerate(path):
            allowed = sorted({other[n] for other in paths.values() if other[:n] == path[:n]})
            nats += log_softmax(rows[n][allowed])[allowed.index(token)]
        shares[facts] = math.exp(nats)
    return shares


def test_every_query_finds_the_item_and_says_how_many_more(twelve_films: Recommender, logits_after: Any) -> None:
    item, found = twelve_films.queries("Ran", k=50)
    row = row_of(twelve_films, "Ran")
    assert item.title == "Ran"
    facts = set(twelve_films.session.facts.of([row])[0])
    assert facts == {
        Fact("genres", "Drama"),
        Fact("genres", "War"),
        Fact("director", "Ann Bee"),
        Fact("decade", "1980s"),
    }
    phrases = [p.facts for p in found]
    assert {len(p) for p in phrases} == {1, 2}
    assert sum(p.share for p in found) == pytest.approx(1, abs=1e-6)
    shares = phrase_shares(twelve_films, logits_after, user_prompt(twelve_films, (), prompts.asking_for(row)), phrases)
    assert {p.facts: p.share for p in found} == pytest.approx(shares, abs=1e-3)
    score_all = twelve_films.session.facts.of(list(range(1, 13)))
    for phrase in found:
        having = [r for r, known in enumerate(score_all, start=1) if set(phrase.facts) <= set(known)]
        assert row in having
        assert phrase.n_items == len(having)
        assert phrase.text == facts_text(phrase.facts)
