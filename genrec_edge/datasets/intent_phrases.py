"""Phrases of intents: what a user who looks for an item with certain facts might write, vaguely or by name.

For training and evaluation. The sentences of real users are parsed by the package `intents`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.catalog.facts import DECADE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from genrec_edge.records import Fact

VAGUE_PHRASES: Mapping[str, tuple[str, ...]] = {
    "Action": ("something with a lot going on", "fights, chases and explosions", "a film that never stops for breath"),
    "Adventure": ("a journey to faraway places", "a quest with dangers on the way", "something to dream of travelling"),
    "Animation": ("drawn, not filmed", "a cartoon for tonight", "something animated"),
    "Biography": ("the life of a real person", "somebody's true life story", "a film about someone who lived"),
    "Comedy": ("something to laugh about tonight", "a funny film", "I need to be cheered up"),
    "Crime": ("gangsters, robbers and police", "a film about breaking the law", "something with a heist or a murder"),
    "Documentary": ("something real, to learn from", "no actors, only facts", "a film about how things really are"),
    "Drama": ("a story that moves me", "serious and touching", "people with real troubles"),
    "Family": ("something for a family evening", "a film for my son", "for the children and for us"),
    "Fantasy": ("magic and other worlds", "a fairy tale", "wizards, spells and dragons"),
    "History": ("a film about times long gone", "something that really happened long ago", "kings, queens and battles"),
    "Horror": ("I want to be scared", "something for Halloween", "a film to hide behind the sofa from"),
    "Music": ("a film with good songs", "about a band or a singer", "something to listen to"),
    "Musical": ("singing and dancing", "a film where they burst into song", "songs that stay in the ear"),
    "Mystery": ("a puzzle to the very end", "who was it", "a riddle to be solved"),
    "Romance": ("a love story", "something for the two of us", "a film for a date"),
    "Sci-Fi": ("space ships and the future", "robots and aliens", "what the world may become"),
    "Sport": ("a team that wins in the end", "about training, matches and medals", "something for a sports fan"),
    "Thriller": ("something to keep me on the edge of my seat", "full of suspense", "nerves of steel needed"),
    "War": ("soldiers at the front", "a film about the war", "battles and comrades"),
    "Western": ("cowboys and saloons", "the Wild West", "a duel at noon"),
}
"""By genre, sentences of a vague intent; they name no fact of a catalog."""

_DECADE_SHARE, _OTHER_SHARE = 0.6, 0.3
_MIN_ITEMS = 3
_MAX_SHARE = 0.3
"""Users do not name a value that so many items have."""


def specific_intent(
    facts: Sequence[Fact], rng: np.random.Generator, share: Callable[[Fact], float], n_items: int
) -> tuple[Fact, ...]:
    """Return up to three facts of an intent: a genre, often a decade, sometimes a person or a country.

    Args:
        facts: of the item.
        rng: of all draws.
        share: from a fact to the share of items that have it, 0..1.
        n_items: number of items; facts of fewer than three items are not used.
    """
    genres = [fact for fact in facts if fact.column == "genres"]
    decades = [fact for fact in facts if fact.column == DECADE]
    others = [fact for fact in facts if fact not in genres and fact not in decades]
    others = [fact for fact in others if _MIN_ITEMS / n_items <= share(fact) < _MAX_SHARE]
    chosen = [genres[int(rng.integers(len(genres)))]] if genres else []
    if decades and (rng.random() < _DECADE_SHARE or not chosen):
        chosen.append(decades[0])
    if others and rng.random() < _OTHER_SHARE:
        columns = sorted({fact.column for fact in others})
        column = columns[int(rng.integers(len(columns)))]
        of_column = [fact for fact in others if fact.column == column]
        chosen.append(of_column[int(rng.integers(len(of_column)))])
    return tuple(chosen)
