"""The nouns that travel between modules: plain frozen records without behaviour. Knows nothing of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = str | int | float | None
"""What a catalog column holds."""

Decode = Literal["exact", "beam", "free"]
ScoreKind = Literal["vocabulary", "catalog"]
PriorKind = Literal["none", "popularity", "sequence"]
Method = Literal["id", "exact", "normalised", "full-text", "fuzzy", "ambiguous", "none"]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the catalog. `row` is its internal number, `id` the identifier its owner gave it."""

    row: int
    id: str
    title: str
    year: int | None = None
    columns: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interaction:
    """One event of a user's history, named by id, by title or by both. Timestamps are seconds, ratings any scale."""

    title: str | None = None
    id: str | None = None
    timestamp: float | None = None
    rating: float | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """What a piece of user input was understood as.

    `item` is None when `method` is "ambiguous" or "none"; `candidates` then holds the nearest items, best first.
    `confidence` is in 0..1; 1 is an exact title or id.
    """

    input: str
    item: Item | None
    method: Method
    confidence: float
    candidates: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the recommender.

    Attributes:
        history: what the user has enjoyed, oldest first; interactions that all carry a timestamp are put in its order.
        k: how many items to return, at least 1.
        where: SQL condition over the catalog's columns, or None for the whole catalog.
        exclude: titles or ids never to return.
        candidates: titles or ids to choose among, or None for all.
        allow_seen: whether items of the history may be returned.
        min_rating: interactions rated lower count as seen, but do not enter the prompt.
        bias: nats added to the score of items, by id; the search stays exact.
        decode: how the answer is searched: exact search, beam search, or free text that is grounded afterwards.
        temperature: of free text: 0 takes the likeliest token each time, 1 samples the model as it is.
        seed: of free text.
    """

    history: tuple[str | Interaction, ...] = ()
    k: int = 10
    where: str | None = None
    exclude: tuple[str, ...] = ()
    candidates: tuple[str, ...] | None = None
    allow_seen: bool = False
    min_rating: float | None = None
    bias: Mapping[str, float] = field(default_factory=dict)
    decode: Decode = "exact"
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One answer. `score = logprob + bias`; `logprob` is in natural logs, so `exp(logprob)` is the probability.

    A prior below the logits is part of `logprob`; one with a weight is part of `bias`, as is a calibration.
    """

    rank: int
    item: Item
    score: float
    logprob: float
    bias: float = 0.0
    grounding: Match | None = None
    """How free text became this item; None where the search itself only walks over items."""
    prior: float | None = None
    """What counting alone says of the item, in nats; None where no prior is used."""


@dataclass(frozen=True, slots=True)
class Timings:
    """What one request cost. Times in seconds; tokens are those given to the model, re-evaluated ones included."""

    load_s: float = 0.0
    prompt_s: float = 0.0
    decode_s: float = 0.0
    engine_s: float = 0.0
    """The part of `decode_s` spent inside the engine."""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    evaluated_tokens: int = 0
    engine_calls: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one request.

    `exact` says that no allowed item outside `items` scores higher; otherwise `gap` (nats) bounds by how much one
    could, or is None where nothing bounds it (free text). `dropped` counts the oldest history titles left out to fit
    the context, `refused` the free texts that mean no allowed item.
    """

    items: tuple[Recommendation, ...]
    exact: bool
    gap: float | None
    resolved: tuple[Match, ...]
    unresolved: tuple[Match, ...]
    dropped: int
    refused: int
    model: Mapping[str, Value]
    catalog: Mapping[str, Value]
    timings: Timings
