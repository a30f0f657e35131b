"""The nouns that travel between modules: plain frozen records without behaviour. Knows nothing of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from genrec_edge.coordinates import CatalogRow

Value = str | int | float | None
"""What a catalog column holds."""

Task = Literal["matching", "reranking", "pointwise", "pairwise"]
"""InstructRec's task forms T2, T3, T0, T1. Source: arXiv 2305.07001, section 3.1.3."""
Decode = Literal["exact", "beam", "free"]
ScoreKind = Literal["vocabulary", "catalog"]
PriorKind = Literal["none", "popularity", "sequence", "mixture"]
Method = Literal["id", "exact", "normalised", "alias", "part", "full-text", "fuzzy", "ambiguous", "none"]
Ties = Literal["file", "item"]
"""The order of a user's events with equal timestamps: that of the file, or that of the items."""
TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
"""The unit of times that are numbers: seconds, milli-, micro- or nanoseconds; auto decides by their size."""
Repeats = Literal["keep", "drop"]
"""Whether events with an item that the user met before are kept."""
SplitKind = Literal["leave-one-out", "time", "cold"]
TrainingPart = Literal["leave-one-out", "time", "cold", "all"]
"""Which events are used: the training part of a split, or all."""
Target = Literal["test", "validation"]
PreferenceKind = Literal["history", "none", "words", "both"]
IntentKind = Literal["none", "vague", "specific", "honest-vague", "honest-specific"]
SummaryMethod = Literal["recurrent", "hierarchical"]
SummaryKind = Literal["whole", "recurrent", "hierarchical"]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the catalog. `row` is its internal number, `id` the identifier its owner gave it."""

    row: CatalogRow
    id: str
    title: str
    year: int | None = None
    columns: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interaction:
    """One event of a user's history, named by id, by title or by both. Timestamps are seconds, ratings any scale.

    `year` chooses among items of the title.
    """

    title: str | None = None
    id: str | None = None
    timestamp: float | None = None
    rating: float | None = None
    year: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """What a piece of user input was understood as.

    `item` is None when `method` is "ambiguous" or "none"; `candidates` then holds the nearest items, best first.
    Where an item was taken of several, they are the others. `confidence` is in 0..1; 1 is an exact title or id.
    """

    input: str
    item: Item | None
    method: Method
    confidence: float
    candidates: tuple[Item, ...] = ()
    note: str = ""
    """What was decided and may be wrong: which of several namesakes was taken, which of two years counts."""


@dataclass(frozen=True, slots=True, order=True)
class Fact:
    """A value that items share, in the catalog's own spelling: ("genres", "Comedy") or ("decade", "1990s")."""

    column: str
    value: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sentence was understood as.

    Attributes:
        text: as it was given.
        facts: of the catalog that it asks for.
        parts: conditions as `where` takes them, all of which are to hold; what it excludes is among them.
        rest: the words that are left.
    """

    text: str
    facts: tuple[Fact, ...] = ()
    parts: tuple[str, ...] = ()
    rest: str = ""

    @property
    def where(self) -> str | None:
        """All parts as one condition, None without any."""
        return " AND ".join(self.parts) or None


@dataclass(frozen=True, slots=True)
class Reason:
    """A title of the history that raises the score of an item, by so many nats: without it, the score is lower."""

    item: Item
    nats: float


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
    """What is said of the item without the model, in nats; None where no prior is used."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What carries the score, in nats above the mean item: `model`, and each part of the mixture; empty without one."""
    met: bool | None = None
    """Whether the model met the item in training; None where its record does not say."""
    fits: bool | None = None
    """Of a reranked candidate: whether it has the facts of the intention; None where that names none."""
    reasons: tuple[Reason, ...] = ()
    """The titles of the history that raise the item's score most, if the request had `explain`."""


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
    could, or is None where nothing bounds it (free text). `dropped` counts the oldest history titles left out of the
    prompt, which holds no more; `refused` the free texts that mean no allowed item.
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
    reading: Reading | None = None
    """What the intention was understood as; None without one."""
    where: str | None = None
    """The condition that all items satisfy, the intention's part of it included."""
    loosened: tuple[str, ...] = ()
    """Conditions of the intention that were given up, because fewer than k items satisfy all of them."""
    left_out: tuple[Match, ...] = ()
    """Candidates that are not in the catalog."""
    history_met: int | None = None
    """How many of the titles in `resolved` the model met in training; None where its record does not say."""
    named: tuple[Match, ...] = ()
    """What the candidates and the items to exclude were understood as."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether an item would be enjoyed.

    Attributes:
        p_yes: the probability of yes, of yes and no.
        margin: log-odds of yes as the model has them, in nats, before any calibration.
        is_calibrated: whether `p_yes` was fitted to what users did; else it only orders items.
        met: whether the model met the item in training; None where its record does not say. What was fitted to users
            says nothing of items that none of them met.
        match: what the item was named as.
        resolved, unresolved: the titles of the history that were found, or not.
    """

    item: Item
    p_yes: float
    margin: float
    is_calibrated: bool
    met: bool | None = None
    match: Match | None = None
    resolved: tuple[Match, ...] = ()
    unresolved: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which of two items is preferred, asked in both orders.

    Attributes:
        p_a: the probability of `a`: the mean of both answers in log-odds, so that the order does not count.
        p_a_first: when `a` is named first.
        p_a_second: when `b` is.
        named: what `a` and `b` were named as.
        resolved, unresolved: the titles of the history that were found, or not.
    """

    a: Item
    b: Item
    p_a: float
    p_a_first: float
    p_a_second: float
    named: tuple[Match, ...] = ()
    resolved: tuple[Match, ...] = ()
    unresolved: tuple[Match, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether both orders prefer the same item."""
        return (self.p_a_first > 0.5) == (self.p_a_second > 0.5)


@dataclass(frozen=True, slots=True)
class Phrase:
    """What one would ask for to be given an item, made of facts of the catalog.

    Attributes:
        share: of the phrases that could be said, 0..1; those of all sum to one.
        n_items: items of the catalog that it finds.
    """

    text: str
    facts: tuple[Fact, ...]
    share: float
    n_items: int


@dataclass(frozen=True, slots=True)
class Trait:
    """A fact that a history says of its user.

    Attributes:
        nats: how much likelier a title of the history is, on average, if this is what is wanted; may be negative.
        n_items: items of the history that have the fact.
    """

    fact: Fact
    nats: float
    n_items: int


@dataclass(frozen=True, slots=True)
class Description:
    """A taste in words: what the model makes of a history, the strongest first, and what counting facts makes of it."""

    traits: tuple[Trait, ...]
    summary: str
    resolved: tuple[Match, ...]
    unresolved: tuple[Match, ...]
