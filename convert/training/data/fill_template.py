"""Templates filled with what a window of a history and the catalog's facts say: one wording, one example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.convert.training.data.sequences import Example, PickPiece, TitlesPiece, VerdictPiece, WordsPiece
from genrec_edge.decoding.prompts import PromptLine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.sequences import Piece
    from genrec_edge.convert.training.data.templates import Template
    from genrec_edge.convert.training.data.windows import Window
    from genrec_edge.datasets.item_facts import ItemFacts

MOST_TITLES = 20
"""Of a history in an instruction. Source: InstructRec, arXiv 2305.07001, section 4.1.4."""
_CANDIDATES = 9
"""Beside the target. Source: the same section."""


def fill(
    template: Template, window: Window, item_facts: ItemFacts, rng: np.random.Generator, *, honest: bool = False
) -> Example | None:
    """Return a template filled with a window cut in two, the first title of the rest being the target.

    The intention, and the query that is asked for, are made of the target, as in the paper: oracle-like. An `honest`
    one is made of the title of the history that has most in common with the others, whatever the target. None where
    the facts are not enough.
    """
    cut = int(rng.integers(1, len(window.items)))
    given, target = window.items[max(0, cut - MOST_TITLES) : cut], window.items[cut]
    known = (*window.before, *window.items[:cut])
    words: dict[str, str] = {}
    fits: NDArray[np.bool_] | None = None
    if "{preference}" in template.text or "preference" in template.answer:
        words["preference"] = item_facts.profile(known)
    if template.has_query:
        source = item_facts.most_typical(given) if honest else target
        wanted = item_facts.intent_phrase(source, rng, is_vague=template.intention == "I1")
        if wanted is None:
            return None
        words["intention"] = wanted[0]
        fits = None if honest else item_facts.matching_items(wanted[1])
    if not all(words.values()):
        return None
    choice = _Candidates(
        target, item_facts.sample_negatives(window.user, rng, _CANDIDATES), is_first=bool(rng.random() < 0.5)
    )
    pieces = [*_lines(template, words, choice, given, rng), *_answer(template, choice, fits)]
    # What the sequence does not tell, and the user has met, is known to a teacher; a search alone tells of nobody.
    before = () if template.preference == "P0" else known[: -len(given)] if "{history}" in template.text else known
    return Example(window.user, before, tuple(pieces), met=target if template.is_judged else None)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The target and items that the user never met; `is_first` says whether the target is what is judged, or first."""

    target: int
    sampled_negatives: list[int]
    is_first: bool

    @property
    def pair(self) -> tuple[int, int]:
        stranger = self.sampled_negatives[0]
        return (self.target, stranger) if self.is_first else (stranger, self.target)


def _lines(
    template: Template, words: dict[str, str], choice: _Candidates, given: tuple[int, ...], rng: np.random.Generator
) -> list[Piece]:
    """Return the lines of a template; the last one is open for words or a verdict."""
    first, second = choice.pair
    titles = {
        "{history}": given,
        "{candidates}": tuple(rng.permutation([choice.target, *choice.sampled_negatives]).tolist()),
        "{item}": (first if template.answer == "verdict" else choice.target,),
        "{first}": (first,),
        "{second}": (second,),
    }
    *lines, last = template.text.split("\n")
    pieces: list[Piece] = []
    for line in lines:
        is_history = line == "{history}"
        if line in titles:
            pieces.append(TitlesPiece(titles[line], is_learned=is_history, is_history=is_history))
        else:
            pieces.append(WordsPiece(PromptLine(line.format(**words))))
    learned = "" if template.learns is None else words[template.learns]
    return [*pieces, WordsPiece(PromptLine(last.format(**words), is_open=template.is_open), learned)]


def _answer(template: Template, choice: _Candidates, fits: NDArray[np.bool_] | None) -> list[Piece]:
    if template.answer == "verdict":
        return [VerdictPiece(choice.pair[0], choice.is_first)]
    if template.answer == "pick":
        return [PickPiece(*choice.pair, choice.is_first)]
    return [TitlesPiece((choice.target,), fits=fits)] if "title" in template.answer else []
