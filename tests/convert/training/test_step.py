"""One step of the optimizer: learning rate, micro-batches, and losses that are not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.training.loop import train
from genrec_edge.convert.training.step import learning_rate
from genrec_edge.errors import UsageError
from tests.support.training_runs import changed, curve, job

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.training.trainer import TrainingResult

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


def test_micro_batches_add_up_to_a_batch(
    plain: TrainingResult, cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    in_micro_batches = train(job(cycle_data, tiny_base, tmp_path / "out", changed(optimizer={"micro_batch": 2})))
    assert curve(in_micro_batches) == pytest.approx(curve(plain), rel=1e-4)
    assert in_micro_batches.progress.log[0]["norm"] == pytest.approx(plain.progress.log[0]["norm"], rel=1e-4)
    assert [e["events"] for e in in_micro_batches.progress.log] == [e["events"] for e in plain.progress.log]


def test_a_loss_that_is_not_finite_ends_the_run(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    diverging = changed(
        optimizer={"lr": 10, "warmup": 0, "epochs": 50}, validation={"every": 100}, base={"dtype": "float16"}
    )
    with pytest.raises(UsageError, match=r"the loss of step \d+ is (nan|inf), not a finite number"):
        train(job(cycle_data, tiny_base, tmp_path / "out", diverging))


def test_the_learning_rate_rises_over_the_warm_up_and_falls_with_the_events() -> None:
    def rate(step: int, events: int, decay: str = "cosine") -> float:
        return learning_rate(step, events, 1000, peak=0.1, warmup=9, decay=decay)

    assert [rate(step, 0) for step in (0, 4, 9, 20)] == pytest.approx([0.01, 0.05, 0.1, 0.1])
    assert [rate(99, events) for events in (0, 500, 1000, 2000)] == pytest.approx([0.1, 0.05, 0.003, 0.003])
    assert rate(99, 1000, "constant") == 0.1
