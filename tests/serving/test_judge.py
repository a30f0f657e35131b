"""Verdicts of a random LLaMA, beside its logits read one prompt at a time."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge import Recommender
from genrec_edge.catalog.writer import build
from genrec_edge.decoding import prompts
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.engine.llama_engine import MAX_RUN
from genrec_edge.errors import ModelInvalidError
from genrec_edge.serving.judge import probability
from tests.support.recommenders import HISTORY, USER_TEXTS, row_of, user_prompt

if TYPE_CHECKING:
    from pathlib import Path


def test_two_are_compared_in_both_orders_and_neither_order_counts(twelve_films: Recommender, logits_after: Any) -> None:
    found = twelve_films.compare("Aliens", "Alien", ("Jaws",), **USER_TEXTS)
    swapped = twelve_films.compare("Alien", "Aliens", ("Jaws",), **USER_TEXTS)
    assert [(m.input, m.method) for m in found.named] == [("Aliens", "exact"), ("Alien", "exact")]
    assert [(m.input, m.item and m.item.year) for m in found.resolved] == [("Jaws", 1983)]
    assert found.p_a == 1 - swapped.p_a
    assert (found.p_a_first, found.p_a_second) == (1 - swapped.p_a_second, 1 - swapped.p_a_first)
    margins = []
    for first, second in (("Aliens", "Alien"), ("Alien", "Aliens")):
        parts = prompts.pairwise(row_of(twelve_films, first), row_of(twelve_films, second))
        prompt = user_prompt(
            twelve_films, ("Jaws",), parts, preference="loud ones", context={"when": "now"}, wanted="Drama"
        )
        model = twelve_films.session.engine.model
        both = [[*model.tokenize(title), model.newline_id] for title in ("Aliens", "Alien")]
        fork = len(both[1]) - 1  # one goes on where the other ends
        row = logits_after([*prompt, *both[0][:fork]])[-1]
        margins.append(row[both[0][fork]] - row[both[1][fork]])
    assert found.p_a_first == pytest.approx(probability(margins[0]), abs=1e-4)
    assert found.p_a_second == pytest.approx(probability(margins[1]), abs=1e-4)
    assert found.p_a == pytest.approx(probability(sum(margins) / 2), abs=1e-4)
    assert found.agrees == ((margins[0] > 0) == (margins[1] > 0))


@given(margin=st.floats(-1e3, 1e3))
def test_probabilities_of_opposite_odds_are_complements(margin: float) -> None:
    assert probability(margin) == 1 - probability(-margin)
    assert probability(margin) == pytest.approx(0.5 + math.tanh(margin / 2) / 2, abs=1e-12)
    assert probability(margin, (0.5, -1.0)) == probability(0.5 * margin - 1)


@pytest.mark.slow
def test_titles_longer_than_a_run_are_compared_too(tiny_llama: Path, tmp_path: Path, logits_after: Any) -> None:
    """The question takes several runs, and both titles part near their ends."""
    long = "y " * 150
    (tmp_path / "long.csv").write_text(f"id,title\na,{long}one\nb,{long}two\nc,Alien\n", encoding="utf-8")
    build(tmp_path / "long.csv", tmp_path / "long.db")
    with Recommender.open(tiny_llama, tmp_path / "long.db", n_threads=1, score="vocabulary") as r:
        found = r.compare("a", "b", ("Alien",))
        assert r.compare("b", "a", ("Alien",)).p_a == 1 - found.p_a
        model, titles = r.session.engine.model, (f"{long}one", f"{long}two")
        paths = [model.tokenize(title) for title in titles]
        fork = next(n for n, (x, y) in enumerate(zip(*paths, strict=False)) if x != y)
        odds = []
        for first, second in (titles, titles[::-1]):
            asked = model.tokenize(f"## Either of these:\n{first}\n{second}\n## Rather:\n")
            assert len(asked) > 2 * MAX_RUN
            row = logits_after([*user_prompt(r, ("Alien",)), *asked, *paths[0][:fork]])[-1]
            odds.append(row[paths[0][fork]] - row[paths[1][fork]])
    assert found.p_a_first == pytest.approx(probability(odds[0]), abs=1e-4)
    assert found.p_a_second == pytest.approx(probability(odds[1]), abs=1e-4)


def test_a_model_that_begins_yes_and_no_with_the_same_token_cannot_judge(twelve_films: Recommender) -> None:
    with pytest.raises(ModelInvalidError, match="begins yes and no with the same token"):
        twelve_films.judge(["Heat"], HISTORY)


@pytest.mark.model
def test_verdicts_are_the_odds_of_yes_over_no(smollm2: Path, twelve_films_path: Path) -> None:
    """On the real model, whose tokens have spaces; several items at once, each as if asked alone."""
    with (
        Recommender.open(smollm2, twelve_films_path, n_threads=2) as r,
        closing(FullLogitsModel(Model(smollm2), n_ctx=512, n_threads=2)) as forward,
    ):
        found = r.judge(["Heat", "f6", "Alien"], HISTORY, **USER_TEXTS)
        assert [j.item.title for j in found] == ["Heat", "Ran", "Alien"]
        yes, no = (r.session.engine.model.tokenize(text)[0] for text in (" yes", " no"))
        for j in found:
            asked = prompts.pointwise(j.item.row)
            prompt = user_prompt(r, HISTORY, asked, preference="loud ones", context={"when": "now"}, wanted="Drama")
            row = forward.logits(prompt)[-1]
            # At Q8_0 a batch rounds activations in its own way: see "Float noise" in docs/architecture.md.
            assert j.margin == pytest.approx(float(row[yes] - row[no]), abs=0.15)
            assert j.p_yes == pytest.approx(1 / (1 + math.exp(-j.margin)))
            assert not j.is_calibrated
        r.session.config = replace(r.session.config, judge_calibration=(0.5, -1.0))
        for raw, j in zip(found, r.judge(["Heat", "f6", "Alien"], HISTORY, **USER_TEXTS), strict=True):
            assert j.is_calibrated
            assert j.p_yes == pytest.approx(1 / (1 + math.exp(-(0.5 * raw.margin - 1))), abs=1e-3)
