"""Forms are drawn by their weights, the same for the same step."""

from __future__ import annotations

import pytest

from genrec_edge.convert.training.data.instructions import FORMS, InstructionSampler
from genrec_edge.convert.training.recipe import FORM_NAMES
from tests.support.instructions import (
    ITEM_FACTS,
    WINDOW,
)


def test_the_forms_are_those_a_recipe_knows() -> None:
    assert tuple(FORMS) == FORM_NAMES


def test_the_same_step_has_the_same_examples_and_forms_follow_their_weights() -> None:
    sampler = InstructionSampler(ITEM_FACTS, {"history": 3.0, "queries": 1.0}, seed=0)
    assert repr(sampler.examples([WINDOW] * 4, 5)) == repr(sampler.examples([WINDOW] * 4, 5))
    found = [e for step in range(200) for e in sampler.examples([WINDOW] * 4, step)]
    share = sum(example.n_targets == 0 for example in found) / len(found)
    assert share == pytest.approx(0.25, abs=0.05)
