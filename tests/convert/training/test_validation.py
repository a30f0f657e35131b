"""Validation of an adapter with the search that recommends."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.checkpoint.open import open_base
from genrec_edge.convert.training.validation import validate
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import split_of
from tests.support.training_runs import job

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.training.trainer import TrainingResult

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


def test_an_adapter_has_the_metrics_that_its_run_noted_and_no_model_is_left(
    plain: TrainingResult, cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(plain.out, adapter)
    dataset = load(cycle_data)
    split = split_of(dataset, "leave-one-out", "file")
    metrics = validate(open_base(tiny_base), adapter, dataset, split, job(cycle_data, tiny_base, tmp_path / "out"))
    noted = max(plain.progress.validations, key=lambda entry: entry["ndcg@10"])
    assert metrics == {key: noted[key] for key in ("hr@10", "ndcg@10")}
    assert not list(adapter.glob("*.gguf"))
