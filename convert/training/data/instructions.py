"""Windows of histories -> instructions: what a user likes and wants in words, before, between and behind the titles.

Everything is made of interactions and of the catalog's facts; no model writes anything. Words that are made of what is
to be predicted are oracle-like, which is how InstructRec makes its intentions; that is fine for learning what words
mean, and is marked wherever it is written down or measured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import numpy as np

from genrec_edge.catalog.facts import worded
from genrec_edge.convert.training.data.fill_template import fill
from genrec_edge.convert.training.data.sequences import Example, Named, Pick, Said, Verdict, asked, told
from genrec_edge.convert.training.data.templates import TEMPLATES
from genrec_edge.datasets.intent_phrases import VAGUE, specific_intent
from genrec_edge.decoding import prompts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from genrec_edge.convert.training.data.sequences import Piece
    from genrec_edge.convert.training.data.windows import Window
    from genrec_edge.datasets.item_facts import Lore

_MOST_ASKED = 12
"""Titles that follow one intention."""
_MOST_JUDGED = 3
"""Verdicts of one sequence: each is seen by the next ones, which a request never has."""
_MOST_TAGGED = 5
_LEAST_TO_SUMMARISE = 5
"""Source: LLM-TRSR, arXiv 2403.13325, whose blocks have five items."""
_ALSO = 0.3
"""How often a preference in words stands before a history and an intention."""


class Instructor:
    """Turns windows into examples, a form drawn for each.

    Args:
        lore: what is known of the items.
        forms: by name, how often a form comes; see `FORMS`.
        seed: of all draws.
    """

    def __init__(self, lore: Lore, forms: Mapping[str, float], seed: int) -> None:
        self._lore = lore
        self._names = tuple(forms)
        weights = np.array([forms[name] for name in self._names])
        self._shares = weights / weights.sum()
        self._seed = seed

    def texts(self) -> Iterator[str]:
        """Yield all that words are made of, each with its leading space."""
        marks = [*prompts.before_history("x"), *prompts.after_history("x", {"": "x"})]
        marks += [*prompts.pointwise(0), *prompts.pairwise(0, 0), *prompts.describing(), *prompts.asking_for(0)]
        yield from (part.mark for part in marks if isinstance(part, prompts.Line))
        yield from (prompts.YES, prompts.NO, ",", ";")
        yield from (re.sub(r"{\w+}", "", template.text) for template in TEMPLATES)
        for fact in self._lore.shared():  # "Jr.," is another token than "Jr." and ","
            yield from (f" {fact.value}{end}" for end in ("", ",", ";"))
        yield from (f" {sentence}" for sentences in VAGUE.values() for sentence in sentences)

    def examples(self, windows: Sequence[Window], step: int) -> list[Example]:
        """Return an example for each window of a step; where a window cannot have the form drawn, its titles alone."""
        rng = np.random.default_rng([self._seed, step, _STREAM])
        drawn = rng.choice(len(self._names), len(windows), p=self._shares)
        return [
            FORMS[self._names[form]](window, self._lore, rng) or told(window)
            for window, form in zip(windows, drawn.tolist(), strict=True)
        ]


def _taste(window: Window, lore: Lore, rng: np.random.Generator) -> Example | None:
    """Return a profile of what came earlier, then titles (P2, or P1 and P2)."""
    n = len(window.items)
    enough = len(window.before) >= _LEAST_TO_SUMMARISE
    at = 0 if enough and rng.random() < 0.7 else int(rng.integers(_LEAST_TO_SUMMARISE, max(_LEAST_TO_SUMMARISE + 1, n)))
    if at >= n:
        return None
    known, shown = (*window.before, *window.items[:at]), window.items[at:]
    pieces = (*asked(prompts.before_history(lore.profile(known))), Named(shown))
    return Example(window.user, known, pieces)


def _search(window: Window, lore: Lore, rng: np.random.Generator) -> Example | None:
    """Return an intention alone, and those of the titles that fit it (P0)."""
    wish = lore.wish(int(rng.choice(window.items)), rng)
    if wish is None:
        return None
    words, fits = wish
    fitting = [item for item in (*window.before, *window.items) if fits[item]]
    start = int(rng.integers(max(1, len(fitting) - _MOST_ASKED + 1)))
    chosen = tuple(dict.fromkeys(fitting[start : start + _MOST_ASKED]))
    return Example(window.user, (), (*asked(prompts.after_history(words, {})), Named(chosen, fits=fits)))


def _personal(window: Window, lore: Lore, rng: np.random.Generator) -> Example | None:
    """Return a history, or its profile, or both, an intention, and the titles after it that fit."""
    pieces, known, rest = _told(window, lore, rng)
    wish = lore.wish(rest[int(rng.integers(min(len(rest), _MOST_ASKED)))], rng)
    if wish is None:
        return None
    words, fits = wish
    chosen = tuple(item for item in rest if fits[item])[:_MOST_ASKED]
    return Example(window.user, known, (*pieces, *asked(prompts.after_history(words, {})), Named(chosen, fits=fits)))


def _judge(window: Window, lore: Lore, rng: np.random.Generator) -> Example | None:
    """Return a history, and verdicts on what comes next and on what never came."""
    pieces, known, rest = _told(window, lore, rng)
    n = min(_MOST_JUDGED, len(rest))
    met = rng.permutation(min(2 * n, len(rest)))[:n]
    strangers = lore.strangers(window.user, rng, n)
    for i in range(n):
        is_met = bool(rng.random() < 0.5)
        item = rest[int(met[i])] if is_met else strangers[i]
        pieces = (*pieces, *asked(prompts.pointwise(item)), Verdict(item, is_met))
    return Example(window.user, known, pieces, met=rest[0])


def _compare(window: Window, lore: Lore, rng: np.random.Generator) -> Example | None:
    """Return a history, and pairs of what comes next and what never came."""
    pieces, known, rest = _told(window, lore, rng)
    n = min(_MOST_JUDGED, len(rest))
    strangers = lore.strangers(window.user, rng, n, popular=bool(rng.random() < 0.5))
    for item, stranger in zip(rest[:n], strangers, strict=True):
        is_first = bool(rng.random() < 0.5)
        first, second = (item, stranger) if is_first else (stranger, item)
        pieces = (*pieces, *asked(prompts.pairwise(first, second)), Pick(first, second, is_first))
    return Example(window.user, known, pieces, met=rest[0])


def _describe(window: Window, lore: Lore, rng: np.random.Generator) -> Example | None:
    """Return a history, its profile as words to learn, and the titles after it (history to preference and item)."""
    cut = _cut(window, rng)
    text = lore.profile(window.items[:cut])
    if not text:
        return None
    words = Said(_open(prompts.describing()), text)
    return Example(window.user, window.before, (Named(window.items[:cut]), words, Named(window.items[cut:])))


def _queries(window: Window, lore: Lore, rng: np.random.Generator) -> Example | None:
    """Return items and what one would ask for to be given them (item to query)."""
    pieces: tuple[Piece, ...] = ()
    for item in rng.permutation(window.items)[:_MOST_TAGGED].tolist():
        wanted = specific_intent(lore.facts[item], rng, lore.share, lore.n_items)
        if wanted:
            *before, last = prompts.asking_for(item)
            pieces = (*pieces, *asked(before), Said(_open([last]), worded(wanted)))
    return Example(window.user, (), pieces) if pieces else None


def _template(window: Window, lore: Lore, rng: np.random.Generator) -> Example | None:
    """Return a template of the collection, filled."""
    return fill(TEMPLATES[int(rng.integers(len(TEMPLATES)))], window, lore, rng)


def _told(
    window: Window, lore: Lore, rng: np.random.Generator
) -> tuple[tuple[Piece, ...], tuple[int, ...], tuple[int, ...]]:
    """Return what a sequence tells of the user, what the user had met besides, and the titles that are left."""
    cut = _cut(window, rng)
    given, rest = window.items[:cut], window.items[cut:]
    draw = rng.random()
    summarised = window.before if draw >= _ALSO / 2 else (*window.before, *given)
    text = lore.profile(summarised) if draw < _ALSO and len(summarised) >= _LEAST_TO_SUMMARISE else ""
    taste = asked(prompts.before_history(text))
    if text and draw < _ALSO / 2:
        return taste, summarised, rest
    return (*taste, Named(given)), window.before, rest


def _cut(window: Window, rng: np.random.Generator) -> int:
    """Return how many titles of a window stand before what is asked: at least one, and one is left."""
    return int(rng.integers(1, len(window.items)))


def _open(parts: Sequence[prompts.Part]) -> prompts.Line:
    (line,) = parts
    if not isinstance(line, prompts.Line) or not line.is_open:
        raise TypeError("words are learned after an open line")
    return line


_STREAM = 7
"""Tells these draws from those of the windows, which begin with the same seed and step."""


class _Form(Protocol):
    def __call__(self, window: Window, lore: Lore, rng: np.random.Generator) -> Example | None: ...


FORMS: Mapping[str, _Form] = {
    "history": lambda window, lore, rng: told(window),  # noqa: ARG005
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
