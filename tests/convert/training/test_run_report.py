"""The files beside a trained adapter."""

from __future__ import annotations

import json
import zlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog.titles import key
from genrec_edge.convert.training import run_report
from genrec_edge.convert.training.loop import train
from genrec_edge.convert.training.recipe_reader import recipe_of
from genrec_edge.datasets.folder import load
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.items_met import from_text
from genrec_edge.recommender import Recommender
from tests.support.event_tables import dataset_of
from tests.support.training_runs import SMALL, changed, converted, job

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
    met = {zlib.crc32(f"{key(title)} 1980".encode()) for title, _ in load(cycle_data).titles}
    assert from_text(record["items_met"]) == frozenset(met)
    assert [path.name for path in plain.out.parent.iterdir() if path.name.startswith(".")] == []


def test_items_met_are_those_of_the_histories_that_are_trained_on() -> None:
    """An item that is held out everywhere was not met; without a split all that have events were."""
    dataset = dataset_of([(0, 1, 0), (0, 2, 1), (1, 1, 0), (1, 4, 1)], years=[1990, 1991, None, 1993, 1994, 1995])
    train_part = (np.array([1], np.int32), np.array([1, 2], np.int32), np.array([], np.int32))
    split: Any = SimpleNamespace(train=train_part)
    one, two, four = (zlib.crc32(text) for text in (b"title 1 1991", b"title 2 ", b"title 4 1994"))
    found = [run_report.items_met(SimpleNamespace(dataset=dataset, split=part)) for part in (split, None)]  # type: ignore[arg-type]
    assert found == [{one, two}, {one, two, four}]


def test_items_met_travel_into_the_model(
    plain: TrainingResult, cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    record = json.loads((plain.out / "genrec_edge.json").read_text())
    path = converted(tmp_path, tiny_base, plain.out)
    assert read_header(path).metadata["genrec_edge.train.items_met"] == record["items_met"]
    with Recommender.open(path, cycle_data / "catalog.db", n_threads=1) as r:
        found = r.recommend(["Rocky", "Alien 3"], k=18)
    assert (found.history_met, {item.met for item in found.items}) == (2, {True})


def test_too_many_items_are_not_listed(
    cycle_data: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_report, "MOST_ITEMS", 18)  # two of the 20 films are one
    trained = train(job(cycle_data, tiny_base, tmp_path / "out", changed(optimizer={"epochs": 0.1})))
    assert "items_met" not in json.loads((trained.out / "genrec_edge.json").read_text())
