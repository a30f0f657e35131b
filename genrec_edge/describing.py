"""The questions turned around: a history in words, and what one would ask for to be given an item.

The words are facts of the catalog, searched for exactly like titles: what the model says is one of the phrases that are
true, and each has a probability among them.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.decoder import Budget, Search
from genrec_edge.facts import DECADE, condition, worded
from genrec_edge.index import IndexKey, build
from genrec_edge.records import Phrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.catalog import Catalog
    from genrec_edge.engine import LlamaEngine
    from genrec_edge.records import Fact

_SHARED_FROM = 5
"""A person or a place stands for a history of so many items only if two of them have it."""
_MOST_PHRASES = 80
_FIRST = ("genres", DECADE)
"""Columns whose facts come first in a phrase; the second fact of a pair is of another column."""


def facts_of_many(facts_of_items: Sequence[Sequence[Fact]]) -> dict[Fact, int]:
    """Return which facts can be said of a history, and how many of its items have each."""
    counts = Counter(fact for facts in facts_of_items for fact in facts)
    n_needed = 2 if len(facts_of_items) >= _SHARED_FROM else 1
    return {fact: n for fact, n in counts.items() if n >= n_needed or fact.column in _FIRST}


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
        [(number, worded(facts), None) for number, facts in enumerate(phrases)],
        lambda text: model.tokenize(f" {text}"),
        IndexKey("phrases", ""),
    )
    search = Search(
        index,
        engine,
        end_id=model.newline_id,
        kind="catalog",
        bias=np.zeros(index.n_items),
        k=min(k, index.n_items),
    )
    found = search.exact(root_row, Budget()).found
    return [(phrases[int(index.rows[f.position])], math.exp(f.logprob)) for f in found]


def phrase(facts: tuple[Fact, ...], share: float, catalog: Catalog) -> Phrase:
    """Return a way to ask for an item, with the number of items of the catalog that it finds."""
    return Phrase(worded(facts), facts, share, len(catalog.filter(condition(facts))))
