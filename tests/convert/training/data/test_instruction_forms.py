"""Each form: what the words say, what is predicted, and which items match."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from genrec_edge.convert.training.data.sequences import PickPiece, TitlesPiece, VerdictPiece, WordsPiece
from genrec_edge.convert.training.recipe import FORM_NAMES
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES
from genrec_edge.decoding import prompts
from tests.support.instructions import (
    HISTORIES,
    ITEM_FACTS,
    WINDOW,
    drawn,
    items_matching,
    target_titles,
    words_by_mark,
)


@pytest.mark.parametrize("form", FORM_NAMES)
def test_every_form_shows_items_of_its_user_and_has_a_target(form: str) -> None:
    examples = drawn(form)
    assert len(examples) > 150
    for example in examples:
        assert set(example.history) <= set(HISTORIES[3].tolist())
        kinds = {type(piece) for piece in example.pieces}
        words = [piece for piece in example.pieces if isinstance(piece, WordsPiece) and piece.target]
        assert example.n_targets or words or kinds & {VerdictPiece, PickPiece}
        assert (example.positive is not None) == bool(kinds & {VerdictPiece, PickPiece})
        if example.positive is not None:
            assert example.positive not in example.history


def test_a_search_shows_no_user_and_its_targets_match() -> None:
    for example in drawn("search"):
        (titles,) = target_titles(example)
        assert example.before == ()
        assert titles.matches is not None
        assert all(titles.matches[item] for item in titles.items)
        words = words_by_mark(example)[prompts.WANTED]
        vague = [genre for genre, sentences in VAGUE_PHRASES.items() if words in sentences]
        truth = items_matching(words if not vague else vague[0])
        assert set(np.flatnonzero(titles.matches).tolist()) == truth


def test_a_personal_search_has_a_history_or_a_profile_before_it() -> None:
    seen = Counter[str]()
    for example in drawn("personal"):
        *before, wanted, answer = example.pieces
        assert isinstance(wanted, WordsPiece)
        assert wanted.line.mark == prompts.WANTED
        assert isinstance(answer, TitlesPiece)
        assert set(answer.items) <= set(WINDOW.items)
        shown = {item for piece in before if isinstance(piece, TitlesPiece) for item in piece.items}
        assert shown.isdisjoint(answer.items)
        assert set(example.before) | shown <= set(range(3, 21))
        seen["taste" if prompts.TASTE in words_by_mark(example) else "no taste"] += 1
        seen["titles" if shown else "no titles"] += 1
        assert prompts.TASTE in words_by_mark(example) or shown
    assert min(seen.values()) > 5


def test_a_profile_is_that_of_the_earlier_items() -> None:
    for example in drawn("taste"):
        assert words_by_mark(example) == {prompts.TASTE: ITEM_FACTS.profile(example.before)}
        assert (*example.before, *target_titles(example)[0].items) == (*WINDOW.before, *WINDOW.items)


def test_verdicts_are_on_later_items_and_on_sampled_negatives() -> None:
    answers = Counter[bool]()
    for example in drawn("judge"):
        verdicts = [piece for piece in example.pieces if isinstance(piece, VerdictPiece)]
        assert 1 <= len(verdicts) <= 3
        for verdict in verdicts:
            answers[verdict.is_positive] += 1
            assert (verdict.item in HISTORIES[3]) == verdict.is_positive
            assert verdict.item not in example.history
    assert 0.4 < answers[True] / answers.total() < 0.6


def test_pairs_have_the_better_one_first_as_often_as_second() -> None:
    first = Counter[bool]()
    for example in drawn("compare"):
        for pick in (piece for piece in example.pieces if isinstance(piece, PickPiece)):
            positive, negative = (pick.first, pick.second) if pick.is_first else (pick.second, pick.first)
            assert positive in HISTORIES[3]
            assert negative not in HISTORIES[3]
            first[pick.is_first] += 1
    assert 0.4 < first[True] / first.total() < 0.6


def test_profiles_and_queries_are_target_words() -> None:
    for example in drawn("describe"):
        (words,) = (piece for piece in example.pieces if isinstance(piece, WordsPiece))
        given, rest = target_titles(example)
        assert words.line == prompts.PromptLine(prompts.TASTE, is_open=True)
        assert words.target == ITEM_FACTS.profile(given.items)
        assert (*given.items, *rest.items) == WINDOW.items
    for example in drawn("queries"):
        items = [piece.items[0] for piece in example.pieces if isinstance(piece, TitlesPiece)]
        queries = [piece.target for piece in example.pieces if isinstance(piece, WordsPiece) and piece.target]
        assert all(item in items_matching(query) for item, query in zip(items, queries, strict=True))
