"""A window of a history -> one instruction: preferences and intentions in words, before, between and after titles.

Everything is made of interactions and of the catalog's facts; no model writes anything. Words that are made of the
target are oracle-like, as the intentions of InstructRec are. That is fine for learning what words mean, and is marked
wherever such data is written or measured.

Each form takes (window, item_facts, rng) and returns an example, or None if the window does not have what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.catalog.facts import facts_text
from genrec_edge.convert.training.data.fill_template import fill_template
from genrec_edge.convert.training.data.sequences import (
    Example,
    PickPiece,
    TitlesPiece,
    VerdictPiece,
    WordsPiece,
    context_pieces,
    titles_example,
)
from genrec_edge.convert.training.data.templates import TEMPLATES
from genrec_edge.datasets.intent_phrases import specific_intent
from genrec_edge.decoding import prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from genrec_edge.convert.training.data.sequences import Piece
    from genrec_edge.convert.training.data.windows import Window
    from genrec_edge.datasets.item_facts import ItemFacts

_MAX_MATCHING = 12
"""Titles that follow one intention."""
_MAX_VERDICTS = 3
"""Verdicts or pairs in one sequence: each one sees those before it, which no request to the recommender does."""
_MAX_QUERIES = 5
_MIN_SUMMARIZED = 5
"""Items of a summary. Source: LLM-TRSR, arXiv 2403.13325, whose blocks have five items."""
_PROFILE_RATE = 0.3
"""Share of the examples with a history in which a profile stands, before the titles or instead of them."""


def history(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example:  # noqa: ARG001
    """Return the titles alone (P1)."""
    return titles_example(window)


def taste(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a profile of the earlier items, then titles (P2, or P1 and P2)."""
    n = len(window.items)
    has_earlier_items = len(window.before) >= _MIN_SUMMARIZED
    if has_earlier_items and rng.random() < 0.7:
        start = 0
    else:
        start = int(rng.integers(_MIN_SUMMARIZED, max(_MIN_SUMMARIZED + 1, n)))
    if start >= n:
        return None
    before, targets = (*window.before, *window.items[:start]), window.items[start:]
    profile = context_pieces(prompts.before_history(item_facts.profile(before)))
    return Example(window.user, before, (*profile, TitlesPiece(targets)))


def search(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return an intention alone, and those of the titles that match it (P0)."""
    intent = item_facts.sample_intent(int(rng.choice(window.items)), rng)
    if intent is None:
        return None
    words, matches = intent
    matching = [item for item in (*window.before, *window.items) if matches[item]]
    start = int(rng.integers(max(1, len(matching) - _MAX_MATCHING + 1)))
    targets = tuple(dict.fromkeys(matching[start : start + _MAX_MATCHING]))
    wanted = context_pieces(prompts.after_history(words, {}))
    return Example(window.user, (), (*wanted, TitlesPiece(targets, matches=matches)))


def personal(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a history, its profile, or both; an intention; and the later titles that match it."""
    pieces, before, rest = _context_and_rest(window, item_facts, rng)
    intent = item_facts.sample_intent(rest[int(rng.integers(min(len(rest), _MAX_MATCHING)))], rng)
    if intent is None:
        return None
    words, matches = intent
    targets = tuple(item for item in rest if matches[item])[:_MAX_MATCHING]
    wanted = context_pieces(prompts.after_history(words, {}))
    return Example(window.user, before, (*pieces, *wanted, TitlesPiece(targets, matches=matches)))


def judge(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example:
    """Return a history, and verdicts on later items and on sampled negatives."""
    pieces, before, rest = _context_and_rest(window, item_facts, rng)
    n = min(_MAX_VERDICTS, len(rest))
    order = rng.permutation(min(2 * n, len(rest)))[:n]
    negatives = item_facts.negatives.sample(window.user, rng, n)
    for i in range(n):
        is_positive = bool(rng.random() < 0.5)
        item = rest[int(order[i])] if is_positive else negatives[i]
        pieces = (*pieces, *context_pieces(prompts.pointwise(item)), VerdictPiece(item, is_positive))
    return Example(window.user, before, pieces, positive=rest[0])


def compare(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example:
    """Return a history, and pairs of a later item and a sampled negative."""
    pieces, before, rest = _context_and_rest(window, item_facts, rng)
    n = min(_MAX_VERDICTS, len(rest))
    negatives = item_facts.negatives.sample(window.user, rng, n, popular=bool(rng.random() < 0.5))
    for positive, negative in zip(rest[:n], negatives, strict=True):
        is_first = bool(rng.random() < 0.5)
        first, second = (positive, negative) if is_first else (negative, positive)
        pieces = (*pieces, *context_pieces(prompts.pairwise(first, second)), PickPiece(first, second, is_first))
    return Example(window.user, before, pieces, positive=rest[0])


def describe(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a history, its profile as words to predict, and the titles after it."""
    cut = _random_cut(window, rng)
    profile = item_facts.profile(window.items[:cut])
    if not profile:
        return None
    words = WordsPiece(_open_line(prompts.describing()), profile)
    pieces = (TitlesPiece(window.items[:cut]), words, TitlesPiece(window.items[cut:]))
    return Example(window.user, window.before, pieces)


def queries(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return items, each followed by a query that would find it, as words to predict."""
    pieces: tuple[Piece, ...] = ()
    for item in rng.permutation(window.items)[:_MAX_QUERIES].tolist():
        wanted = specific_intent(item_facts.facts[item], rng, item_facts.share, item_facts.n_items)
        if wanted:
            *before, last = prompts.asking_for(item)
            pieces = (*pieces, *context_pieces(before), WordsPiece(_open_line([last]), facts_text(wanted)))
    return Example(window.user, (), pieces) if pieces else None


def templates(window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None:
    """Return a random template of the collection, filled."""
    return fill_template(TEMPLATES[int(rng.integers(len(TEMPLATES)))], window, item_facts, rng)


def _context_and_rest(
    window: Window, item_facts: ItemFacts, rng: np.random.Generator
) -> tuple[tuple[Piece, ...], tuple[int, ...], tuple[int, ...]]:
    """Cut a window at random into the user's history and the rest.

    Returns:
        The pieces that show the history: titles, a profile, or a profile of the earlier items and titles; the user's
        items that no title shows; the items after the cut.
    """
    cut = _random_cut(window, rng)
    given, rest = window.items[:cut], window.items[cut:]
    draw = rng.random()
    replaces_titles = draw < _PROFILE_RATE / 2
    summarized = (*window.before, *given) if replaces_titles else window.before
    text = ""
    if draw < _PROFILE_RATE and len(summarized) >= _MIN_SUMMARIZED:
        text = item_facts.profile(summarized)
    profile = context_pieces(prompts.before_history(text))
    if text and replaces_titles:
        return profile, summarized, rest
    return (*profile, TitlesPiece(given)), window.before, rest


def _random_cut(window: Window, rng: np.random.Generator) -> int:
    """Return a number of titles of a window that leaves at least one on each side."""
    return int(rng.integers(1, len(window.items)))


def _open_line(parts: Sequence[prompts.Part[int]]) -> prompts.PromptLine:
    (line,) = parts
    if not isinstance(line, prompts.PromptLine) or not line.is_open:
        raise TypeError("words to predict need an open line before them")
    return line
