"""States to resume from: what is on disk, and that it is read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from genrec_edge.convert.training.state import Progress, load_state, save_state

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tau = nn.Parameter(torch.tensor(0.1))
        self.rows = nn.Linear(2, 2, bias=False)
        nn.init.ones_(self.rows.weight)


def trained(n_steps: int) -> tuple[Residual, torch.optim.Optimizer]:
    model = Residual()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(n_steps):
        (model.tau.square() + model.rows.weight.square().sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_a_state_is_read_back_and_the_older_one_is_removed(tmp_path: Path) -> None:
    model, optimizer = trained(2)
    progress = Progress(2, 30, 1.5, [{"step": 1, "loss": 3.0}], [{"step": 2, "ndcg@10": 0.5}])
    save_state(tmp_path, *trained(1), Progress(1), is_main=True)
    save_state(tmp_path, model, optimizer, progress, is_main=True)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
    other, its_optimizer = trained(0)
    assert load_state(tmp_path, other, its_optimizer) == progress
    for own, expected in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(own, expected)
    torch.testing.assert_close(its_optimizer.state_dict()["state"], optimizer.state_dict()["state"], rtol=0, atol=0)


def test_progress_has_the_keys_of_version_0_1_on_disk(tmp_path: Path) -> None:
    save_state(tmp_path, *trained(1), Progress(1, validations=[{"step": 1}]), is_main=True)
    document = json.loads((tmp_path / "step-00000001" / "progress.json").read_text())
    assert list(document["progress"]) == ["step", "events", "seconds", "log", "looks"]
    assert document["progress"]["looks"] == [{"step": 1}]


def test_without_a_state_nothing_changes(tmp_path: Path) -> None:
    model, optimizer = trained(1)
    tau = model.tau.item()
    (tmp_path / "step-00000009.part").mkdir()
    assert load_state(tmp_path, model, optimizer) == Progress()
    assert model.tau.item() == tau
