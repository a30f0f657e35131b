"""The files beside a trained adapter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.training.recipe_reader import recipe_of
from tests.support.training_runs import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.training.trainer import TrainingResult

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


def test_the_files_of_a_run(plain: TrainingResult, cycle_data: Path) -> None:
    names = {path.name for path in plain.out.iterdir()}
    adapter = {"adapter_config.json", "adapter_model.safetensors", "genrec_edge.json"}
    assert names == adapter | {"run.json", "log.jsonl", "training.png"}
    record = json.loads((plain.out / "genrec_edge.json").read_text())
    assert (record["score_kind"], record["prompt"], record["split"]) == ("catalog", "titles-1", "leave-one-out")
    assert record["data_sha256"] == json.loads((cycle_data / "card.json").read_text())["interactions"]["sha256"]
    assert record["ndcg@10"] == max(entry["ndcg@10"] for entry in plain.progress.validations)
    run = json.loads((plain.out / "run.json").read_text())
    assert recipe_of(run["recipe"], "run.json") == recipe_of(dict(SMALL), "test")
    assert run["versions"].keys() >= {"torch", "transformers", "peft"}
    lines = (plain.out / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == plain.progress.log
    assert [path.name for path in plain.out.parent.iterdir() if path.name.startswith(".")] == []
