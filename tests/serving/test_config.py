"""The configuration of a session: what the options say, else the model's record, else the default."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.decoding.best_first import Budget
from genrec_edge.options import OpenOptions
from genrec_edge.serving.config import SessionConfig, default_threads
from genrec_edge.serving.opening import find_model
from genrec_edge.serving.score_fusion import PriorUse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def test_a_model_without_a_record_gets_the_defaults(tiny_llama: Path, tmp_path: Path) -> None:
    config = SessionConfig.of(find_model(tiny_llama), OpenOptions(prompts_path=tmp_path))
    assert (config.adapter_path, config.score, config.prompt) == (None, "vocabulary", "titles-1")
    assert (config.prior, config.judge_calibration, config.budget) == (PriorUse(None, "mixture", 10.0), None, Budget())
    assert config.items_met is None
    assert config.prompt_cache is None  # a file outside the store is not hashed, so its prompts cannot be kept


def test_the_record_of_a_model_overrides_the_defaults_and_options_override_it(
    residual_model: Callable[[Mapping[str, Any]], Path],
) -> None:
    record = {"objective": "catalog", "history": 7, "judge_slope": 0.5, "judge_offset": -1.0}
    model_file = find_model(residual_model(record))
    config = SessionConfig.of(model_file, OpenOptions())
    assert (config.score, config.max_titles, config.judge_calibration) == ("catalog", 7, (0.5, -1.0))
    assert SessionConfig.of(model_file, OpenOptions(score="vocabulary")).score == "vocabulary"


def test_a_budget_is_a_number_of_tokens_or_a_whole_one(tiny_llama: Path) -> None:
    model_file = find_model(tiny_llama)
    for given, budget in ((12, Budget(tokens=12)), (0, Budget(tokens=0)), (Budget(12, 3), Budget(12, 3))):
        assert SessionConfig.of(model_file, OpenOptions(budget=given)).budget == budget


@pytest.mark.parametrize(("n_cpus", "expected"), [(1, 1), (3, 3), (8, 8), (64, 8)])
def test_threads_are_the_cpus_of_the_process_and_at_most_eight(
    monkeypatch: pytest.MonkeyPatch, n_cpus: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(n_cpus)), raising=False)
    assert default_threads() == expected
