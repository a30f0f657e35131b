"""Training small random models: what is learned, and what becomes of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from accelerate import Accelerator
from accelerate.utils import DistributedType

from genrec_edge.catalog.writer import build as build_catalog
from genrec_edge.convert.training.job import TrainJob
from genrec_edge.convert.training.loop import train
from genrec_edge.convert.training.recipe_reader import find_recipe
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import split_of
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header
from genrec_edge.prior.build import build as build_prior
from genrec_edge.recommender import Recommender
from tests.support.training_runs import changed, converted, curve, job

if TYPE_CHECKING:
    from genrec_edge.convert.training.trainer import TrainingResult

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


def test_a_cycle_of_titles_is_learned(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    trained = train(job(cycle_data, tiny_base, tmp_path / "out", changed(optimizer={"epochs": 8})))
    nats = [entry["nats"] for entry in trained.progress.log]
    # One window in nine begins with a title that nothing predicts, so some of log(19) stays.
    assert np.mean(nats[-10:]) < 0.5 * math.log(19)
    assert np.mean(nats[-10:]) < np.mean(nats[:5]) - 2
    assert trained.progress.validations[-1]["ndcg@10"] > 0.8
    assert trained.progress.events >= 8 * 300
    assert not trained.stopped_early


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(
    plain: TrainingResult, cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    again = train(job(cycle_data, tiny_base, tmp_path / "again"))
    for name in ("adapter_config.json", "adapter_model.safetensors", "genrec_edge.json"):
        assert (again.out / name).read_bytes() == (plain.out / name).read_bytes()
    assert curve(again) == curve(plain)
    other = train(job(cycle_data, tiny_base, tmp_path / "other", changed(seed=1)))
    assert curve(other) != curve(plain)


def test_the_adapter_is_converted_as_it_is_and_recommends(
    plain: TrainingResult, cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    path = converted(tmp_path, tiny_base, plain.out)
    metadata = read_header(path).metadata
    assert metadata["genrec_edge.prompt_version"] == "titles-1"
    assert metadata["genrec_edge.train.score_kind"] == "catalog"
    with Recommender.open(path, cycle_data / "catalog.db", n_threads=1) as recommender:
        result = recommender.recommend(["Rocky", "Rocky II"], k=5)
    assert (result.model["score"], result.model["prompt"]) == ("catalog", "titles-1")
    assert result.exact


def test_the_recipe_of_the_paper_runs_and_its_prompt_is_the_one_that_is_served(
    cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    recipe = find_recipe(None, "genrec")
    small = replace(recipe.optimizer, batch=8, epochs=0.2)
    wanted = replace(recipe, optimizer=small, validation=replace(recipe.validation, users=3))
    trained = train(TrainJob(str(cycle_data), tiny_base, tmp_path / "out", wanted, n_threads=1))
    assert [entry["events"] for entry in trained.progress.log[:3]] == [8, 16, 24]  # one target a sequence
    path = converted(tmp_path, tiny_base, trained.out)
    assert read_header(path).metadata["genrec_edge.prompt_version"] == "genrec-1"
    with Recommender.open(path, cycle_data / "catalog.db", n_threads=1) as recommender:
        result = recommender.recommend(["Rocky", "Rocky II"], k=5)
    assert (result.model["score"], result.model["prompt"]) == ("vocabulary", "genrec-1")


def test_layers_that_were_left_out_for_training_are_left_out_by_convert(
    cycle_data: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    trained = train(job(cycle_data, tiny_llama, tmp_path / "out", changed(base={"layers": "1"})))
    record = json.loads((trained.out / "genrec_edge.json").read_text())
    assert (record["layers"], record["layers_of"]) == ("1", 2)
    header = read_header(converted(tmp_path, tiny_llama, trained.out))
    assert (header.metadata["llama.block_count"], header.metadata["genrec_edge.layers"]) == (1, "1")
    (tmp_path / "named").mkdir()
    assert converted(tmp_path / "named", tiny_llama, trained.out, layers=(1,)).exists()
    with pytest.raises(UsageError, match="was trained on the layers 1 of 2, and the layers 0 are to be kept"):
        converted(tmp_path / "other", tiny_llama, trained.out, layers=(0,))
    (trained.out / "genrec_edge.json").write_text(json.dumps({**record, "layers_of": 30}))
    with pytest.raises(UsageError, match=r"the layers 1 of 30, and .* has 0-1 of 2"):
        converted(tmp_path / "other", tiny_llama, trained.out)
    (trained.out / "genrec_edge.json").write_text(json.dumps({**record, "layers": "all"}))
    with pytest.raises(ModelInvalidError, match="is 'all', not a list of layers"):
        converted(tmp_path / "other", tiny_llama, trained.out)


@pytest.mark.parametrize("objective", [{"distill": 0.6, "others": "others.db"}, {"catalog": "training items"}])
def test_other_objectives_run(
    objective: dict[str, Any], cycle_data: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("others.csv").write_text("title\nZulu\nKes\nQuo Vadis\nNosferatu\n", encoding="utf-8")
    build_catalog("others.csv", "others.db")
    trained = train(job(cycle_data, tiny_base, tmp_path / "out", changed(objective=objective)))
    assert np.mean(curve(trained)[-3:]) < curve(trained)[0] - 1


def test_a_model_on_top_of_a_prior_is_trained_converted_and_served(
    cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """It begins at the prior's loss, becomes better than that, and is not served without its prior."""
    dataset = load(cycle_data)
    split = split_of(dataset, "leave-one-out", "file")
    build_prior(tmp_path / "prior.db", dataset, split.train, "file", split=split)
    document = changed(objective={"kind": "residual"}, optimizer={"epochs": 3})
    trained = train(job(cycle_data, tiny_base, tmp_path / "out", document))
    log = trained.progress.log
    assert (log[0]["tau"], log[0]["lambda"]) == pytest.approx((0.1, 1), abs=0.02)
    assert np.mean([e["nats"] for e in log[-10:]]) < np.mean([e["nats"] for e in log[:5]])
    path = converted(tmp_path, tiny_base, trained.out)
    with pytest.raises(UsageError, match="prior"):
        Recommender.open(path, cycle_data / "catalog.db", n_threads=1)
    with Recommender.open(path, cycle_data / "catalog.db", prior=tmp_path / "prior.db", n_threads=1) as recommender:
        result = recommender.recommend(["Rocky", "Rocky II"], k=5)
    assert result.items[0].item.title == "Rocky III"


@pytest.mark.parametrize("tables", [{"lora": {"tokens": True}}, {"objective": {"kind": "residual"}}])
def test_what_fsdp_cannot_shard_is_refused(
    tables: dict[str, Any], cycle_data: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(UsageError, match="cannot be trained with FSDP"):
        train(job(cycle_data, tiny_base, tmp_path / "out", changed(**tables)))


@pytest.mark.parametrize("split", ["time", "all"])
def test_other_splits_run(split: str, cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    document = changed(data={"split": split}, optimizer={"epochs": 0.2})
    trained = train(job(cycle_data, tiny_base, tmp_path / "out", document))
    record = json.loads((trained.out / "genrec_edge.json").read_text())
    assert ("ndcg@10" in record) == (split != "all")
    assert record["steps"] == trained.progress.step
    assert len(trained.progress.validations) == 1
