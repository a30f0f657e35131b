"""When a run validates and stops, and which adapter it keeps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from genrec_edge.convert.training.loop import train
from tests.support.training_runs import changed, job, weights

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


def test_training_ends_when_validation_does_not_become_better(
    cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """With a rate of next to nothing the first validation is the best."""
    document = changed(optimizer={"lr": 1e-6, "epochs": 50}, validation={"every": 0.2, "patience": 2})
    trained = train(job(cycle_data, tiny_base, tmp_path / "out", document))
    assert trained.stopped_early
    assert len(trained.progress.validations) == 3
    assert (
        json.loads((trained.out / "genrec_edge.json").read_text())["steps"] == trained.progress.validations[0]["step"]
    )


def test_the_adapter_that_is_kept_is_the_best_one(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    """A rate far too large for the second half: the validation in between is better than the last one."""
    good = train(job(cycle_data, tiny_base, tmp_path / "good", changed(optimizer={"epochs": 4, "decay": "constant"})))
    validations = good.progress.validations
    best = max(range(len(validations)), key=lambda i: validations[i]["ndcg@10"])
    shorter = changed(optimizer={"epochs": best + 1, "decay": "constant"})
    until_there = train(job(cycle_data, tiny_base, tmp_path / "until", shorter))
    assert until_there.progress.step == validations[best]["step"]
    for name, tensor in weights(good.out).items():
        assert torch.equal(tensor, weights(until_there.out)[name])
