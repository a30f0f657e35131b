"""Fills a template with a window of a history and the catalog's facts: one wording, one example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.convert.training.data.sequences import Example, PickPiece, TitlesPiece, VerdictPiece, WordsPiece
from genrec_edge.decoding.prompts import PromptLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.sequences import Piece
    from genrec_edge.convert.training.data.templates import Template
    from genrec_edge.convert.training.data.windows import Window
    from genrec_edge.datasets.item_facts import ItemFacts

MAX_TITLES = 20
"""Titles of a history in an instruction. Source: InstructRec, arXiv 2305.07001, section 4.1.4."""
_N_NEGATIVES = 9
"""Candidates beside the target. Source: the same section."""


def fill_template(
    template: Template,
    window: Window,
    item_facts: ItemFacts,
    rng: np.random.Generator,
    *,
    intent_from_history: bool = False,
) -> Example | None:
    """Return a template filled with a window; None if the facts are not enough.

    The window is cut at random into a history and a rest; the first title of the rest is the target.

    Args:
        template: the wording.
        window: at least two titles.
        item_facts: facts of the data set's items.
        rng: draws the cut, the candidates and the facts in an intention.
        intent_from_history: make the intention of the title of the history that has most in common with the others,
            whatever the target is. Otherwise the intention or query is made of the target, as in the paper; words made
            of the target are oracle-like.
    """
    cut = int(rng.integers(1, len(window.items)))
    given, target = window.items[max(0, cut - MAX_TITLES) : cut], window.items[cut]
    history = (*window.before, *window.items[:cut])
    words: dict[str, str] = {}
    matches: NDArray[np.bool_] | None = None
    if "{preference}" in template.text or "preference" in template.answer:
        words["preference"] = item_facts.profile(history)
    if template.has_query:
        source = item_facts.most_typical(given) if intent_from_history else target
        wanted = item_facts.intent_phrase(source, rng, is_vague=template.intention == "I1")
        if wanted is None:
            return None
        words["intention"] = wanted[0]
        matches = None if intent_from_history else item_facts.matching_items(wanted[1])
    if not all(words.values()):
        return None
    negatives = item_facts.negatives.sample(window.user, rng, _N_NEGATIVES)
    candidates = _Candidates(target, negatives, is_first=bool(rng.random() < 0.5))
    prompt = _prompt_pieces(template, words, candidates, given, rng)
    pieces = (*prompt, *_answer_pieces(template, candidates, matches))
    before = _items_before(template, history, len(given))
    return Example(window.user, before, pieces, positive=target if template.has_verdict else None)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The target and sampled negatives. `is_first`: whether the target is the title to judge, or first in a pair."""

    target: int
    negatives: list[int]
    is_first: bool

    @property
    def pair(self) -> tuple[int, int]:
        negative = self.negatives[0]
        return (self.target, negative) if self.is_first else (negative, self.target)


def _items_before(template: Template, history: tuple[int, ...], n_given: int) -> tuple[int, ...]:
    """Return the items of the history that the sequence does not show but the prior counts."""
    if template.preference == "P0":  # a search without a user
        return ()
    return history[:-n_given] if "{history}" in template.text else history


def _prompt_pieces(
    template: Template,
    words: Mapping[str, str],
    candidates: _Candidates,
    given: tuple[int, ...],
    rng: np.random.Generator,
) -> list[Piece]:
    """Return the lines of a template; the last one has the target words, if any, or is open for a verdict."""
    first, second = candidates.pair
    titles = {
        "{history}": given,
        "{candidates}": tuple(rng.permutation([candidates.target, *candidates.negatives]).tolist()),
        "{item}": (first if template.answer == "verdict" else candidates.target,),
        "{first}": (first,),
        "{second}": (second,),
    }
    *lines, last = template.text.split("\n")
    pieces: list[Piece] = []
    for line in lines:
        if line in titles:
            is_history = line == "{history}"
            pieces.append(TitlesPiece(titles[line], is_target=is_history, is_history=is_history))
        else:
            pieces.append(WordsPiece(PromptLine(line.format(**words))))
    target = "" if template.target_words is None else words[template.target_words]
    return [*pieces, WordsPiece(PromptLine(last.format(**words), is_open=template.is_open), target)]


def _answer_pieces(template: Template, candidates: _Candidates, matches: NDArray[np.bool_] | None) -> list[Piece]:
    if template.answer == "verdict":
        return [VerdictPiece(candidates.pair[0], candidates.is_first)]
    if template.answer == "pick":
        return [PickPiece(*candidates.pair, candidates.is_first)]
    return [TitlesPiece((candidates.target,), matches=matches)] if "title" in template.answer else []
