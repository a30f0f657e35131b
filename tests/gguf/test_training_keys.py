"""How a model says that it was tuned: the kind of its scores and the version of its prompts."""

from __future__ import annotations

from typing import get_args

import pytest

from genrec_edge.gguf.training_keys import DEFAULT_PROMPT, prompt_version_in, score_kind_in
from genrec_edge.records import ScoreKind


@pytest.mark.parametrize("kind", get_args(ScoreKind))
def test_the_kind_of_score_is_read_from_its_key(kind: ScoreKind) -> None:
    assert score_kind_in({"genrec_edge.train.score_kind": kind}) == kind


@pytest.mark.parametrize("claim", [None, "magic", 3, ""])
def test_an_unknown_kind_of_score_is_as_good_as_none(claim: object) -> None:
    assert score_kind_in({"genrec_edge.train.score_kind": claim}) == "vocabulary"
    assert score_kind_in({"genrec_edge.train.score_kind": claim}, "catalog") == "catalog"
    assert score_kind_in({}, "catalog") == "catalog"


def test_the_version_of_the_prompts_has_a_default() -> None:
    assert prompt_version_in({"genrec_edge.prompt_version": "titles-9"}) == "titles-9"
    assert prompt_version_in({}) == DEFAULT_PROMPT == "titles-1"
