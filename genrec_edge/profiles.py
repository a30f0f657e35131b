"""Preference summaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genrec_edge.facts import DECADE
from genrec_edge.records import Fact

_DECAY = 0.97
"""Weight of an item relative to the next newer one."""
_MOST = {"genres": 3, DECADE: 2, "people": 3, "places": 2}
_PLACES = ("country", "language")
_UNUSUAL = 2.0


def profile_text(facts_of_items: Sequence[Sequence[Fact]], share: Callable[[Fact], float]) -> str:
    """Return what items, oldest first, say of who chose them: genres; decades; people; countries and languages."""
    weights: dict[Fact, float] = {}
    counts: dict[Fact, int] = {}
    total, weight = 0.0, 1.0
    for facts in reversed(facts_of_items):
        total += weight
        for fact in facts:
            weights[fact] = weights.get(fact, 0.0) + weight
            counts[fact] = counts.get(fact, 0) + 1
        weight *= _DECAY
    kinds: dict[str, list[tuple[float, str]]] = {kind: [] for kind in _MOST}
    for fact, known in weights.items():
        if fact.column in {"genres", DECADE}:
            kinds[fact.column].append((known, fact.value))
        elif counts[fact] < 2:
            continue
        elif fact.column in _PLACES:
            if known / total > _UNUSUAL * share(fact) and share(fact) < 0.3:
                kinds["places"].append((known / total / share(fact), fact.value))
        elif known / total > _UNUSUAL * share(fact):
            kinds["people"].append((known, fact.value))
    texts = []
    for kind, found in kinds.items():
        best = [value for _, value in sorted(found, key=lambda pair: (-pair[0], pair[1]))]
        texts.append(", ".join(list(dict.fromkeys(best))[: _MOST[kind]]))
    return "; ".join(filter(None, texts))
