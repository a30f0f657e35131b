"""Training small random models: what is learned, what is written, and what becomes of it."""

from __future__ import annotations

import json
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build as build_catalog
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.types import Tensor
from genrec_edge.convert.pipeline import run as run_module
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.convert.training.data.bundle import prepare_training_data, write_vocabulary
from genrec_edge.convert.training.data.sequences import titles_example
from genrec_edge.convert.training.data.windows import Window
from genrec_edge.convert.training.job import TrainJob
from genrec_edge.convert.training.loop import TrainingResult, train
from genrec_edge.convert.training.recipe import FORM_NAMES
from genrec_edge.convert.training.recipe_reader import find_recipe, recipe_of
from genrec_edge.convert.training.step import learning_rate
from genrec_edge.coordinates import CatalogRows, TriePosition
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import split_of
from genrec_edge.decoding import prompts
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header
from genrec_edge.prior.build import build as build_prior
from genrec_edge.recommender import Recommender
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]

SMALL: Mapping[str, Any] = {
    "checkpoint_every": 4,
    "data": {"window": 8},
    "lora": {"r": 8, "alpha": 16, "tokens": True},
    "optimizer": {"lr": 1e-2, "warmup": 2, "epochs": 1, "batch": 6, "micro_batch": 6},
    "validation": {"users": 10, "every": 1, "patience": 9},
}


def changed(**tables: Any) -> dict[str, Any]:
    """Return `SMALL` with other values in some tables."""
    document: dict[str, Any] = {**SMALL}
    for name, value in tables.items():
        document[name] = {**document.get(name, {}), **value} if isinstance(value, dict) else value
    return document


def job(data: Path, base: Path, out: Path, document: Mapping[str, Any] = SMALL, **options: Any) -> TrainJob:
    return TrainJob(str(data), base, out, recipe_of(dict(document), "test"), n_threads=1, **options)


def curve(trained: TrainingResult) -> list[float]:
    return [entry["loss"] for entry in trained.progress.log]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def plain(cycle_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """One epoch as `SMALL` has it."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(folder / "home"))
        return train(job(cycle_data, tiny_base, folder / "out"))


def test_a_cycle_of_titles_is_learned(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    trained = train(job(cycle_data, tiny_base, tmp_path / "out", changed(optimizer={"epochs": 8})))
    nats = [entry["nats"] for entry in trained.progress.log]
    # One window in nine begins with a title that nothing foretells, so some of log(19) stays.
    assert np.mean(nats[-10:]) < 0.5 * math.log(19)
    assert np.mean(nats[-10:]) < np.mean(nats[:5]) - 2
    assert trained.progress.validations[-1]["ndcg@10"] > 0.8
    assert trained.progress.events >= 8 * 300
    assert not trained.stopped_early


def test_what_is_written(plain: TrainingResult, cycle_data: Path) -> None:
    names = {path.name for path in plain.out.iterdir()}
    adapter = {"adapter_config.json", "adapter_model.safetensors", "genrec_edge.json"}
    assert names == adapter | {"run.json", "log.jsonl", "training.png"}
    record = json.loads((plain.out / "genrec_edge.json").read_text())
    assert (record["score_kind"], record["prompt"], record["split"]) == ("catalog", "titles-1", "leave-one-out")
    assert record["data_sha256"] == json.loads((cycle_data / "card.json").read_text())["interactions"]["sha256"]
    assert record["ndcg@10"] == max(look["ndcg@10"] for look in plain.progress.validations)
    run = json.loads((plain.out / "run.json").read_text())
    assert recipe_of(run["recipe"], "run.json") == recipe_of(dict(SMALL), "test")
    assert run["versions"].keys() >= {"torch", "transformers", "peft"}
    lines = (plain.out / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == plain.progress.log
    assert [path.name for path in plain.out.parent.iterdir() if path.name.startswith(".")] == []


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(
    plain: TrainingResult, cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    again = train(job(cycle_data, tiny_base, tmp_path / "again"))
    for name in ("adapter_config.json", "adapter_model.safetensors", "genrec_edge.json"):
        assert (again.out / name).read_bytes() == (plain.out / name).read_bytes()
    assert curve(again) == curve(plain)
    other = train(job(cycle_data, tiny_base, tmp_path / "other", changed(seed=1)))
    assert curve(other) != curve(plain)


def test_pieces_of_a_batch_add_up_to_it(
    plain: TrainingResult, cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    pieces = train(job(cycle_data, tiny_base, tmp_path / "out", changed(optimizer={"micro_batch": 2})))
    assert curve(pieces) == pytest.approx(curve(plain), rel=1e-4)
    assert pieces.progress.log[0]["norm"] == pytest.approx(plain.progress.log[0]["norm"], rel=1e-4)
    assert [e["events"] for e in pieces.progress.log] == [e["events"] for e in plain.progress.log]


def converted(tmp_path: Path, base: Path, adapter: Path, **options: Any) -> Path:
    """Return the F16 file of what `convert` makes of an adapter."""
    wanted = ConversionJob(
        base, tmp_path / "made", "toy", "CC0-1.0", ("F16",), None, ((adapter, 1.0),), verify="none", **options
    )
    outcome = run_module.convert(run_module.prepare(wanted))
    return outcome.files["F16"]


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


FORMS = dict.fromkeys(FORM_NAMES, 1.0)


def test_all_forms_are_learned_together_and_an_adapter_is_gone_on_from(
    facts_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """What the first run learned is what the second begins with; what is resumed is what was begun."""
    document = changed(prompt="forms-1", forms=FORMS, objective={"distill": 0.5}, optimizer={"epochs": 2})
    first = train(job(facts_data, tiny_base, tmp_path / "first", document))
    losses = curve(first)
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.5
    record = json.loads((first.out / "genrec_edge.json").read_text())
    assert record["prompt"] == "forms-1"
    begun = changed(
        prompt="forms-1", forms=FORMS, optimizer={"lr": 1e-9, "epochs": 0.05}, base={"adapter": str(first.out)}
    )
    second = train(job(facts_data, tiny_base, tmp_path / "second", begun))
    assert weights(second.out).keys() == weights(first.out).keys()
    for name, tensor in weights(first.out).items():
        torch.testing.assert_close(weights(second.out)[name], tensor, rtol=0, atol=1e-3)
    run = json.loads((second.out / "run.json").read_text())
    assert run["from"] == sha256_file(first.out / "adapter_model.safetensors", lambda _n: None)
    other = changed(base={"adapter": str(first.out)}, lora={"r": 4})
    with pytest.raises(UsageError, match="does not have the shape of the model that is trained: base_model"):
        train(job(facts_data, tiny_base, tmp_path / "other", other))
    nowhere = changed(base={"adapter": str(tmp_path / "nowhere")})
    with pytest.raises(UsageError, match="nowhere"):
        train(job(facts_data, tiny_base, tmp_path / "nothing", nowhere))


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
    with pytest.raises(UsageError, match="was trained on the layers 1 of 2, and 0 are to be kept"):
        converted(tmp_path / "other", tiny_llama, trained.out, layers=(0,))
    (trained.out / "genrec_edge.json").write_text(json.dumps({**record, "layers_of": 30}))
    with pytest.raises(UsageError, match=r"the layers 1 of 30, and .* has 0-1 of 2"):
        converted(tmp_path / "other", tiny_llama, trained.out)
    (trained.out / "genrec_edge.json").write_text(json.dumps({**record, "layers": "all"}))
    with pytest.raises(ModelInvalidError, match="names no layers: 'all'"):
        converted(tmp_path / "other", tiny_llama, trained.out)


def test_training_ends_when_validation_does_not_become_better(
    cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """With a rate of next to nothing the first look is the best."""
    document = changed(optimizer={"lr": 1e-6, "epochs": 50}, validation={"every": 0.2, "patience": 2})
    trained = train(job(cycle_data, tiny_base, tmp_path / "out", document))
    assert trained.stopped_early
    assert len(trained.progress.validations) == 3
    assert (
        json.loads((trained.out / "genrec_edge.json").read_text())["steps"] == trained.progress.validations[0]["step"]
    )


def test_the_adapter_that_is_kept_is_the_best_one(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    """A rate far too large for the second half: the look in between is better than the last one."""
    good = train(job(cycle_data, tiny_base, tmp_path / "good", changed(optimizer={"epochs": 4, "decay": "constant"})))
    looks = good.progress.validations
    best = max(range(len(looks)), key=lambda i: looks[i]["ndcg@10"])
    shorter = changed(optimizer={"epochs": best + 1, "decay": "constant"})
    until_there = train(job(cycle_data, tiny_base, tmp_path / "until", shorter))
    assert until_there.progress.step == looks[best]["step"]
    for name, tensor in weights(good.out).items():
        assert torch.equal(tensor, weights(until_there.out)[name])


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


def test_modules_that_are_none_are_named(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    wanted = job(cycle_data, tiny_base, tmp_path / "out", changed(lora={"whole": ["norm", "wo", "w2"]}))
    with pytest.raises(UsageError, match=r"lora.whole: .* has no modules called wo, w2"):
        train(wanted)


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


def test_a_loss_that_is_no_number_ends_the_run(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    wild = changed(
        optimizer={"lr": 10, "warmup": 0, "epochs": 50}, validation={"every": 100}, base={"dtype": "float16"}
    )
    with pytest.raises(UsageError, match=r"the loss of step \d+ is (nan|inf), not a finite number"):
        train(job(cycle_data, tiny_base, tmp_path / "out", wild))


def test_the_rate_rises_over_the_warm_up_and_falls_with_the_events() -> None:
    def rate(step: int, events: int, decay: str = "cosine") -> float:
        return learning_rate(step, events, 1000, peak=0.1, warmup=9, decay=decay)

    assert [rate(step, 0) for step in (0, 4, 9, 20)] == pytest.approx([0.01, 0.05, 0.1, 0.1])
    assert [rate(99, events) for events in (0, 500, 1000, 2000)] == pytest.approx([0.1, 0.05, 0.003, 0.003])
    assert rate(99, 1000, "constant") == 0.1


def test_what_is_trained_on_is_the_prompt_that_is_served(
    llama_vocabs: Path, tiny_llama: Path, cycle_data: Path, tmp_path: Path
) -> None:
    """SentencePiece: a token before everything, a space before every text, and a line break out of bytes."""
    tokenizer = read_gguf_tokenizer(read_header(llama_vocabs / "ggml-vocab-llama-spm.gguf"))
    small, rng = read_gguf(tiny_llama), np.random.default_rng(0)
    table = rng.normal(0, 0.5, (len(tokenizer.tokens), small.config.hidden_size)).astype(np.float32)
    name = "model.embed_tokens.weight"
    tensors = {**small.tensors, name: Tensor(name, table.shape, "F32", lambda rows: table[rows])}
    config = replace(small.config, vocab_size=len(tokenizer.tokens))
    base = replace(small, config=config, tokenizer=tokenizer, tensors=tensors)
    for prompt, targets in (("titles-1", "all"), ("forms-1", "all"), ("genrec-1", "last")):
        path = tmp_path / f"{prompt}.gguf"
        with path.open("wb") as file:
            write_gguf(base, file, {"genrec_edge.prompt_version": prompt})
        recipe = recipe_of({"prompt": prompt, "data": {"window": 20, "targets": targets}}, "test")
        write_vocabulary(base, tmp_path / "vocabulary.gguf")
        with closing(Model(tmp_path / "vocabulary.gguf", vocab_only=True)) as vocabulary:
            dataset = load(cycle_data)
            data = prepare_training_data(dataset, recipe, vocabulary)
        windows = data.windows.sample(0, 4)
        with Recommender.open(path, cycle_data / "catalog.db", n_threads=1) as recommender:
            index = recommender.session.trie
            for window in windows:
                asked = Window(window.user, window.before, window.items, len(window.items) - 1)
                ids = data.collator(0).collate([titles_example(asked)]).input_ids[0].tolist()
                rows = dataset.rows[list(window.items)]
                served, _ = recommender.session.prompts.build(CatalogRows(rows[:-1]))
                (position,) = np.flatnonzero(index.rows == rows[-1]).tolist()
                assert ids == [
                    *served,
                    *index.path(TriePosition(position)),
                    recommender.session.engine.model.newline_id,
                ]
                assert ids[0] == vocabulary.bos_id == 1
    assert set(prompts.LAYOUTS) == {"titles-1", "forms-1", "genrec-1"}
    with Catalog.open(cycle_data / "catalog.db") as catalog:
        assert len(list(catalog.titles())) == index.n_items
