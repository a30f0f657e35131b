"""The questions turned around: a history in words, and what one would ask for to be given an item.

The words are true facts of the catalog. For an item they are searched for exactly like titles. For a history the model
is asked the other way round (Bayes' rule, all facts as likely beforehand): how likely its titles are if a fact is
wanted. Asked for words, it answers with what most people like: of Alien, Blade Runner and The Terminator "Drama", four
times in five.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.facts import DECADE, facts_condition, facts_text, is_in_words
from genrec_edge.coordinates import CatalogRow, CatalogRows
from genrec_edge.decoding import prompts
from genrec_edge.decoding.best_first import Budget, TrieSearch
from genrec_edge.decoding.trie import TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.errors import NothingToRecommendError
from genrec_edge.profiles.tastes import MIN_LIFT, profile_text
from genrec_edge.records import Description, Phrase, Trait
from genrec_edge.serving.constraints import found_and_others, items_of, resolve_history, resolve_items

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.engine.llama_engine import LlamaEngine
    from genrec_edge.options import Request
    from genrec_edge.records import Fact, Item
    from genrec_edge.serving.session import Session

MOST_TITLES = 30
"""The latest titles of a history, which are described."""
_SHARED_FROM = 3
"""A person or a place stands for a history of so many items only if two of them have it."""
_MOST_FACTS = 40
_MOST_PHRASES = 80
_FIRST = ("genres", DECADE)
"""Columns whose facts come first in a phrase; the second fact of a pair is of another column."""


def describe_history(session: Session, request: Request) -> Description:
    """Return what the history of a checked request says of its user: by the model, and by counting.

    Of long histories the latest `MOST_TITLES` are described.

    Raises:
        NothingToRecommendError: nothing of the history is in the catalog, or nothing is known of its items.
        UsageError: the model knows only histories.
    """
    matches, _, liked = resolve_history(request, session.catalog, session.resolver)
    liked = CatalogRows(liked[-MOST_TITLES:])
    no_history = CatalogRows(liked[:0])
    facts = session.facts.of(liked.tolist())
    counts = facts_of_many(facts, session.facts.share)
    if not counts:
        finding, hint = "says nothing of these items but their titles", "use a catalog that has genres, people or years"
        if any(map(is_in_words, chain(*facts))):
            finding, hint = "says nothing of these items that is rarer elsewhere", "name more titles"
        raise NothingToRecommendError(f"the catalog {finding}", hint=hint)
    unbiased = np.zeros(session.trie.n_items)

    def nats_of(wanted: Sequence[prompts.PromptLine]) -> float:
        logits, _ = session.engine.prompt(session.prompts.build(no_history, (), wanted)[0])
        return sum(found.logprob for found in session.score_rows(liked, logits, unbiased))

    return Description(
        traits(counts, len(liked), nats_of, request.k),
        profile_text(facts, session.facts.share),
        *found_and_others(matches),
    )


def queries_for(session: Session, name: str, k: int) -> tuple[Item, list[Phrase]]:
    """Return an item, named by id or title, and the k likeliest ways to ask for it, all of which find it.

    Raises:
        NothingToRecommendError: it is not in the catalog, or nothing is known of it but its title.
        UsageError: the model knows only histories.
    """
    (item,) = items_of(resolve_items((name,), "ask for", session.catalog, session.resolver))
    facts = tuple(filter(is_in_words, session.facts.of([item.row])[0]))
    if not facts:
        raise NothingToRecommendError(f"the catalog says nothing of {item.title!r} but its title")
    no_history = CatalogRows(np.empty(0, np.int64))
    logits, _ = session.engine.prompt(session.prompts.build(no_history, (), prompts.asking_for(item.row))[0])
    found = ranked(session.engine, logits, phrases_of_one(facts), k)
    return item, [phrase(said, share, session.catalog) for said, share in found]


def facts_of_many(facts_of_items: Sequence[Sequence[Fact]], share: Callable[[Fact], float]) -> dict[Fact, int]:
    """Return which facts can be said of a history, and how many of its items have each.

    Genres and decades can, and people and places that come more often than in the catalog, where a `share` has them;
    numbers cannot.
    """
    counts = Counter(fact for facts in facts_of_items for fact in facts if is_in_words(fact))
    n = len(facts_of_items)
    n_needed = 2 if n >= _SHARED_FROM else 1
    sayable = [
        fact
        for fact, count in counts.most_common()
        if fact.column in _FIRST or (count >= n_needed and count / n > MIN_LIFT * share(fact))
    ]
    sayable.sort(key=lambda fact: fact.column not in _FIRST)
    return {fact: counts[fact] for fact in sayable[:_MOST_FACTS]}


def traits(
    counts: Mapping[Fact, int], n_titles: int, nats_of: Callable[[Sequence[prompts.PromptLine]], float], k: int
) -> tuple[Trait, ...]:
    """Return the k facts that make a history likeliest.

    Args:
        counts: the facts, and how many titles have each.
        n_titles: how many the history has, at least 1.
        nats_of: the log-probability of all of them, each alone, after what is said in its place.
        k: how many at most.
    """
    unsaid = nats_of(())
    found = [
        Trait(fact, (nats_of(prompts.after_history(fact.value, {})) - unsaid) / n_titles, n)
        for fact, n in counts.items()
    ]
    return tuple(sorted(found, key=lambda trait: (-trait.nats, trait.fact))[:k])


def phrases_of_one(facts: Sequence[Fact]) -> list[tuple[Fact, ...]]:
    """Return what one could ask for to be given an item with these facts: one fact, or a genre or decade and another.

    Of an item with very many people, those who stand first.
    """
    singles = [(fact,) for fact in facts]
    heads = [fact for column in _FIRST for fact in facts if fact.column == column]
    pairs = [(head, other) for head in heads for other in facts if _goes_after(head, other)]
    return list(dict.fromkeys([*singles, *pairs]))[:_MOST_PHRASES]


def _goes_after(head: Fact, other: Fact) -> bool:
    return other.column not in {head.column, _FIRST[0]}


def ranked(
    engine: LlamaEngine, root_row: NDArray[np.float32], phrases: Sequence[tuple[Fact, ...]], k: int
) -> list[tuple[tuple[Fact, ...], float]]:
    """Return the k likeliest phrases after the prompt that the engine holds, each with its share of all.

    Args:
        engine: its prompt evaluated.
        root_row: the logits after it, (n_vocab,).
        phrases: at least one, different from each other.
        k: how many at most.
    """
    model = engine.model
    index = build(
        [(CatalogRow(number), facts_text(facts), None) for number, facts in enumerate(phrases)],
        lambda text: model.tokenize(f" {text}"),
        TrieKey("phrases", ""),
    )
    search = TrieSearch(
        index,
        engine,
        end_id=model.newline_id,
        kind="catalog",
        bias=np.zeros(index.n_items),
        k=min(k, index.n_items),
    )
    found = search.exact(root_row, Budget()).found
    return [(phrases[index.row_at(f.position)], math.exp(f.logprob)) for f in found]


def phrase(facts: tuple[Fact, ...], share: float, catalog: Catalog) -> Phrase:
    """Return a way to ask for an item, with the number of items of the catalog that it finds."""
    return Phrase(facts_text(facts), facts, share, len(catalog.filter(facts_condition(facts))))
