"""Windows of histories -> instructions: what a user likes and wants in words, before, between and behind the titles.

Everything is made of interactions and of the catalog's facts; no model writes anything. Words that are made of what is
to be predicted are oracle-like, which is how InstructRec makes its intentions; that is fine for learning what words
mean, and is marked wherever it is written down or measured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import numpy as np

from genrec_edge.catalog.facts import facts_text
from genrec_edge.convert.training.data.fill_template import fill
from genrec_edge.convert.training.data.sequences import (
    Example,
    PickPiece,
    TitlesPiece,
    VerdictPiece,
    WordsPiece,
    as_pieces,
    as_titles,
)
from genrec_edge.convert.training.data.templates import TEMPLATES
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES, specific_intent
from genrec_edge.decoding import prompts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from genrec_edge.convert.training.data.sequences import Piece
    from genrec_edge.convert.training.data.windows import Window
    from genrec_edge.datasets.item_facts import ItemFacts

_MOST_ASKED = 12
"""Titles that follow one intention."""
_MOST_JUDGED = 3
"""Verdicts of one sequence: each is seen by the next ones, which a request never has."""
_MOST_TAGGED = 5
_LEAST_TO_SUMMARISE = 5
"""Source: LLM-TRSR, arXiv 2403.13325, whose blocks have five items."""
_ALSO = 0.3
"""How often a preference in words stands before a history and an intention."""


class InstructionSampler:
    """Turns windows into examples, a form drawn for each.

    Args:
        item_facts: what is known of the items.
        forms: by name, how often a form comes; see `FORMS`.
        seed: of all draws.
    """

    def __init__(self, item_facts: ItemFacts, forms: Mapping[str, float], seed: int) -> None:
        self._lore = item_facts
        self._names = tuple(forms)
        weights = np.array([forms[name] for name in self._names])
        self._shares = weights / weights.sum()
        self._seed = seed

    def texts(self) -> Iterator[str]:
        """Yield all that words are made of, each with its leading space."""
        marks: list[prompts.Part[int]] = [*prompts.before_history("x"), *prompts.after_history("x", {"": "x"})]
        marks += [*prompts.pointwise(0), *prompts.pairwise(0, 0), *prompts.describing(), *prompts.asking_for(0)]
        yield from (part.mark for part in marks if isinstance(part, prompts.PromptLine))
        yield from (prompts.YES, prompts.NO, ",", ";")
        yield from (re.sub(r"{\w+}", "", template.text) for template in TEMPLATES)
        for fact in self._lore.shared():  # "Jr.," is another token than "Jr." and ","
            yield from (f" {fact.value}{end}" for end in ("", ",", ";"))
        yield from (f" {sentence}" for sentences in VAGUE_PHRASES.values() for sentence in sentences)

    def examples(self, windows: Sequence[Window], step: int) -> list[Example]:
        """Return an example for each window of a step; where a window cannot have the form drawn, its titles alone."""
        rng = np.random.default_rng([self._seed, step, _STREAM])
        drawn = rng.choice(len(self._names), len(windows), p=self._shares)
        return [
            FORMS[self._names[form]](window, self._lore, rng) or as_titles(window)
            for window, form in zip(windows, drawn.tolist(), strict=True)
        ]


def _taste(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a profile of what came earlier, then titles (P2, or P1 and P2)."""
    n = len(window.items)
    enough = len(window.before) >= _LEAST_TO_SUMMARISE
    at = 0 if enough and rng.random() < 0.7 else int(rng.integers(_LEAST_TO_SUMMARISE, max(_LEAST_TO_SUMMARISE + 1, n)))
    if at >= n:
        return None
    known, shown = (*window.before, *window.items[:at]), window.items[at:]
    pieces = (*as_pieces(prompts.before_history(item_facts.profile(known))), TitlesPiece(shown))
    return Example(window.user, known, pieces)


def _search(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return an intention alone, and those of the titles that fit it (P0)."""
    wish = item_facts.sample_intent(int(rng.choice(window.items)), rng)
    if wish is None:
        return None
    words, fits = wish
    fitting = [item for item in (*window.before, *window.items) if fits[item]]
    start = int(rng.integers(max(1, len(fitting) - _MOST_ASKED + 1)))
    chosen = tuple(dict.fromkeys(fitting[start : start + _MOST_ASKED]))
    return Example(window.user, (), (*as_pieces(prompts.after_history(words, {})), TitlesPiece(chosen, fits=fits)))


def _personal(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a history, or its profile, or both, an intention, and the titles after it that fit."""
    pieces, known, rest = _told(window, item_facts, rng)
    wish = item_facts.sample_intent(rest[int(rng.integers(min(len(rest), _MOST_ASKED)))], rng)
    if wish is None:
        return None
    words, fits = wish
    chosen = tuple(item for item in rest if fits[item])[:_MOST_ASKED]
    return Example(
        window.user, known, (*pieces, *as_pieces(prompts.after_history(words, {})), TitlesPiece(chosen, fits=fits))
    )


def _judge(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a history, and verdicts on what comes next and on what never came."""
    pieces, known, rest = _told(window, item_facts, rng)
    n = min(_MOST_JUDGED, len(rest))
    met = rng.permutation(min(2 * n, len(rest)))[:n]
    sampled_negatives = item_facts.sample_negatives(window.user, rng, n)
    for i in range(n):
        is_met = bool(rng.random() < 0.5)
        item = rest[int(met[i])] if is_met else sampled_negatives[i]
        pieces = (*pieces, *as_pieces(prompts.pointwise(item)), VerdictPiece(item, is_met))
    return Example(window.user, known, pieces, met=rest[0])


def _compare(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a history, and pairs of what comes next and what never came."""
    pieces, known, rest = _told(window, item_facts, rng)
    n = min(_MOST_JUDGED, len(rest))
    sampled_negatives = item_facts.sample_negatives(window.user, rng, n, popular=bool(rng.random() < 0.5))
    for item, stranger in zip(rest[:n], sampled_negatives, strict=True):
        is_first = bool(rng.random() < 0.5)
        first, second = (item, stranger) if is_first else (stranger, item)
        pieces = (*pieces, *as_pieces(prompts.pairwise(first, second)), PickPiece(first, second, is_first))
    return Example(window.user, known, pieces, met=rest[0])


def _describe(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a history, its profile as words to learn, and the titles after it (history to preference and item)."""
    cut = _cut(window, rng)
    text = item_facts.profile(window.items[:cut])
    if not text:
        return None
    words = WordsPiece(_open(prompts.describing()), text)
    return Example(
        window.user, window.before, (TitlesPiece(window.items[:cut]), words, TitlesPiece(window.items[cut:]))
    )


def _queries(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return items and what one would ask for to be given them (item to query)."""
    pieces: tuple[Piece, ...] = ()
    for item in rng.permutation(window.items)[:_MOST_TAGGED].tolist():
        wanted = specific_intent(item_facts.facts[item], rng, item_facts.share, item_facts.n_items)
        if wanted:
            *before, last = prompts.asking_for(item)
            pieces = (*pieces, *as_pieces(before), WordsPiece(_open([last]), facts_text(wanted)))
    return Example(window.user, (), pieces) if pieces else None


def _template(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a template of the collection, filled."""
    return fill(TEMPLATES[int(rng.integers(len(TEMPLATES)))], window, item_facts, rng)


def _told(
    window: Window, item_facts: ItemFacts, rng: np.random.Generator
) -> tuple[tuple[Piece, ...], tuple[int, ...], tuple[int, ...]]:
    """Return what a sequence tells of the user, what the user had met besides, and the titles that are left."""
    cut = _cut(window, rng)
    given, rest = window.items[:cut], window.items[cut:]
    draw = rng.random()
    summarised = window.before if draw >= _ALSO / 2 else (*window.before, *given)
    text = item_facts.profile(summarised) if draw < _ALSO and len(summarised) >= _LEAST_TO_SUMMARISE else ""
    taste = as_pieces(prompts.before_history(text))
    if text and draw < _ALSO / 2:
        return taste, summarised, rest
    return (*taste, TitlesPiece(given)), window.before, rest


def _cut(window: Window, rng: np.random.Generator) -> int:
    """Return how many titles of a window stand before what is asked: at least one, and one is left."""
    return int(rng.integers(1, len(window.items)))


def _open(parts: Sequence[prompts.Part[int]]) -> prompts.PromptLine:
    (line,) = parts
    if not isinstance(line, prompts.PromptLine) or not line.is_open:
        raise TypeError("words are learned after an open line")
    return line


_STREAM = 7
"""Tells these draws from those of the windows, which begin with the same seed and step."""


class _Form(Protocol):
    def __call__(self, window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None: ...


FORMS: Mapping[str, _Form] = {
    "history": lambda window, item_facts, rng: as_titles(window),  # noqa: ARG005
    "taste": _taste,
    "search": _search,
    "personal": _personal,
    "judge": _judge,
    "compare": _compare,
    "describe": _describe,
    "queries": _queries,
    "templates": _template,
}
"""What a recipe calls them."""
