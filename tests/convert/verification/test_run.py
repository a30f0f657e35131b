"""Verification of converted files: tiny models, and expected values from transformers, torch and brute force."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from benchmarks.peer_llama import open_llama
from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.verification import samples
from genrec_edge.convert.verification.logit_divergence import LogitAgreement
from genrec_edge.convert.verification.run import verify
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header
from genrec_edge.recommender import Recommender
from tests.support.converted_models import small_verify

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.verification.results import FileFigures, Verification
    from tests.support.converted_models import ConvertedModels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def verified(converted_models: ConvertedModels, tmp_path_factory: pytest.TempPathFactory) -> Verification:
    """The verification of the whole converted_models; the test split holds what the F16 file ranks tenth."""
    folder = tmp_path_factory.mktemp("verified")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(folder))
        lines = []
        with Recommender.open(
            converted_models.f16, converted_models.catalog, n_threads=1, prior_kind="none"
        ) as recommender:
            items = recommender.catalog.items([row for row, _, _ in recommender.catalog.titles()])
            for i in range(8):
                history = [item.title for item in items[i * 5 : i * 5 + 5]]
                tenth = recommender.recommend(history, k=10).items[9].item
                lines.append(json.dumps({"history": history, "target": tenth.id}))
        (folder / "test.jsonl").write_text("\n".join(lines))
        return verify(
            converted_models.f16,
            [converted_models.f16, converted_models.q8, converted_models.q4, converted_models.bad],
            checkpoint=converted_models.checkpoint,
            catalog=converted_models.catalog,
            test=folder / "test.jsonl",
            n_titles=100,
            n_positions=600,
            n_histories=6,
            n_threads=1,
            seed=3,
        )


def agreement_of(figures: FileFigures) -> LogitAgreement:
    assert figures.agreement is not None
    return figures.agreement


def test_good_files_pass(verified: Verification) -> None:
    assert verified.problems == ()
    assert (verified.tokenizer.status, verified.tokenizer.n_titles) == ("passed", 100)
    assert verified.checkpoint.status == "passed"
    assert verified.checkpoint.agreement is not None
    assert verified.checkpoint.agreement.n_positions == 600
    assert 0 < (verified.checkpoint.agreement.max_abs_diff or 0) < 5e-2
    assert [f.file_type for f in verified.files] == ["F16", "Q8_0", "Q4_0", "Q4_0"]


def test_a_coarser_file_is_worse_and_a_scrambled_one_worst_in_every_figure(verified: Verification) -> None:
    reference, *quants = verified.files
    assert (reference.agreement, reference.overlap) == (None, None)
    assert [agreement_of(f).n_positions for f in quants] == [600] * 3
    for name in ("mean_kl", "max_kl", "max_abs_diff"):
        q8, q4, bad = (getattr(agreement_of(f), name) for f in quants)
        assert 0 < q8 < q4 < bad / 2, name
    for figures in ([agreement_of(f).top1 for f in quants], [f.overlap for f in quants]):
        q8, q4, bad = (figure or 0.0 for figure in figures)
        assert bad < q4 < q8 <= 1
    hits = [f.hits for f in verified.files]
    assert hits[0] is not None
    assert (hits[0].n, hits[0].hit_rate) == (8, 1)
    assert hits[0].ndcg == pytest.approx(1 / math.log2(11))  # its own tenth items
    assert hits[3] is not None
    assert hits[3].hit_rate < 0.8


def test_sizes_and_speed_are_those_of_the_files(verified: Verification, converted_models: ConvertedModels) -> None:
    assert [f.n_bytes for f in verified.files] == [
        path.stat().st_size
        for path in (converted_models.f16, converted_models.q8, converted_models.q4, converted_models.bad)
    ]
    assert verified.files[0].bits_per_weight == pytest.approx(16, abs=0.2)  # norms are F32
    assert verified.files[1].bits_per_weight == pytest.approx(8.5, abs=0.2)
    assert verified.speed_ratio(verified.files[0]) == 1
    for figures in verified.files:
        assert figures.request_s is not None
        assert figures.request_s > 0
        assert (figures.prompt_tokens_per_s or 0) > 0
        assert verified.speed_ratio(figures) == pytest.approx((verified.files[0].request_s or 0) / figures.request_s)


def test_divergence_of_a_file_equals_brute_force(verified: Verification, converted_models: ConvertedModels) -> None:
    """All logits at once, from the high-level bindings, and the divergence from torch."""
    with closing(Model(converted_models.f16)) as model, Catalog.open(converted_models.catalog) as catalog:
        sequences = samples.draw_sequences(model, catalog, 600, seed=3, n_ctx=2048)
    logits = []
    for path in (converted_models.f16, converted_models.q4):
        llama: Any = open_llama(path, n_ctx=256, n_threads=1, logits_all=True)
        with closing(llama):
            parts = []
            for token_ids in sequences.token_ids:
                llama.reset()
                llama.eval(token_ids)
                parts.append(np.array(llama.scores[sequences.start : len(token_ids)]))
            logits.append(torch.log_softmax(torch.from_numpy(np.concatenate(parts)).double(), dim=1))
    kl = torch.nn.functional.kl_div(logits[1], logits[0], log_target=True, reduction="none").sum(dim=1)
    found = agreement_of(verified.files[2])
    assert found.mean_kl == pytest.approx(float(kl.mean()), rel=1e-3)
    assert found.max_kl == pytest.approx(float(kl.max()), rel=1e-3)
    assert found.top1 == pytest.approx(float((logits[0].argmax(1) == logits[1].argmax(1)).double().mean()), abs=2e-3)


def test_overlap_equals_the_answers_of_two_recommenders(
    verified: Verification, converted_models: ConvertedModels, own_home: Path
) -> None:
    with Catalog.open(converted_models.catalog) as catalog:
        histories = samples.draw_histories(catalog, 6, 10, seed=3)
    answers = []
    for path in (converted_models.f16, converted_models.bad):
        with Recommender.open(path, converted_models.catalog, n_threads=1, prior_kind="none") as recommender:
            answers.append([{r.item.id for r in recommender.recommend(h, k=10).items} for h in histories])
    expected = sum(len(a & b) for a, b in zip(*answers, strict=True)) / 60
    assert verified.files[3].overlap == pytest.approx(expected)


def test_everything_is_json(verified: Verification) -> None:
    document = json.loads(json.dumps(verified.as_dict(), allow_nan=False))
    assert document["files"][1]["agreement"]["n_positions"] == 600
    assert document["files"][1]["speed_ratio"] == verified.speed_ratio(verified.files[1])
    assert document["problems"] == []


def test_the_same_seed_gives_the_same_figures(converted_models: ConvertedModels, own_home: Path) -> None:
    first, second = (small_verify(converted_models, [converted_models.q4], None, n_histories=2) for _ in range(2))
    without_times = [[replace(f, request_s=None, prompt_tokens_per_s=None) for f in v.files] for v in (first, second)]
    assert without_times[0] == without_times[1]
    assert agreement_of(small_verify(converted_models, [converted_models.q4], None, seed=9).files[1]) != agreement_of(
        first.files[1]
    )


def test_another_checkpoint_is_a_problem(converted_models: ConvertedModels, tmp_path: Path, own_home: Path) -> None:
    from safetensors.numpy import load_file

    shutil.copytree(converted_models.checkpoint, tmp_path / "other")
    tensors = load_file(tmp_path / "other" / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.weight"] = tensors["model.layers.0.self_attn.q_proj.weight"][::-1].copy()
    save_file(tensors, tmp_path / "other" / "model.safetensors", metadata={"format": "pt"})
    found = small_verify(converted_models, [], tmp_path / "other", n_positions=200)
    assert found.checkpoint.status == "failed"
    (problem,) = found.problems
    assert problem.startswith("tiny-F16.gguf does not match the converted checkpoint: top-1 agreement 0.")
    assert "(at least 0.995 expected), mean KL " in problem
    assert "largest difference of a logit" in problem


def test_other_token_ids_are_a_problem(converted_models: ConvertedModels, tmp_path: Path, own_home: Path) -> None:
    shutil.copytree(converted_models.checkpoint, tmp_path / "other")
    tokenizer = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    tokenizer["model"]["merges"].remove(["T", "h"])
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = small_verify(
        converted_models, [], converted_models.checkpoint, tokenizer=tmp_path / "other", n_titles=10_000
    )
    with Catalog.open(converted_models.catalog) as catalog:
        affected = {title for _, title, _ in catalog.titles() if "Th" in title}
    assert found.tokenizer.status == "failed"
    assert found.tokenizer.n_different == len(affected) > 5
    assert len(found.tokenizer.mismatches) == 5
    mismatch = found.tokenizer.mismatches[0]
    assert mismatch.title in affected
    assert len(mismatch.token_ids) < len(mismatch.expected)
    (problem,) = found.problems
    assert f"{len(affected)} of {found.tokenizer.n_titles} titles have other token ids" in problem
    assert f"{list(mismatch.token_ids)} instead of {list(mismatch.expected)}" in problem


def changed_copy(source: Path, target: Path, old: bytes, new: bytes) -> Path:
    data = source.read_bytes()
    assert data.count(old) == 1
    assert len(old) == len(new)
    target.write_bytes(data.replace(old, new))
    return target


def test_a_quant_with_another_tokenizer_is_a_problem_and_not_compared(
    converted_models: ConvertedModels, tmp_path: Path, own_home: Path
) -> None:
    other = changed_copy(converted_models.q8, tmp_path / "other-Q8_0.gguf", b"T h", b"T e")
    found = small_verify(converted_models, [other, converted_models.q8], None)
    assert found.problems == ("other-Q8_0.gguf has another tokenizer than tiny-F16.gguf",)
    assert (found.files[1].agreement, found.files[1].overlap, found.files[1].request_s) == (None, None, None)
    assert agreement_of(found.files[2]).n_positions == 40


def with_nan(source: Path, target: Path) -> Path:
    data = bytearray(source.read_bytes())
    tensor = next(t for t in read_header(source).tensors if t.name == "token_embd.weight")
    data[tensor.offset : tensor.offset + 2] = np.float16("nan").tobytes()  # a weight, or the scale of a block
    target.write_bytes(data)
    return target


def test_logits_that_are_no_numbers_are_a_problem(
    converted_models: ConvertedModels, tmp_path: Path, own_home: Path
) -> None:
    nan = with_nan(converted_models.q8, tmp_path / "nan-Q8_0.gguf")
    found = small_verify(converted_models, [nan, converted_models.q8], None)
    assert found.files[1].agreement == LogitAgreement(40, 40, None, None, None, None)
    assert found.problems == (
        "nan-Q8_0.gguf: logits are not finite at 40 of 40 positions",
        "nan-Q8_0.gguf cannot recommend: the model's logits are not numbers",
    )
    assert found.files[2].overlap is not None
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_reference_that_is_no_model_is_a_problem_of_everything(
    converted_models: ConvertedModels, tmp_path: Path, own_home: Path
) -> None:
    nan = with_nan(converted_models.f16, tmp_path / "nan-F16.gguf")
    found = small_verify(converted_models, [converted_models.q8], converted_models.checkpoint, reference=nan)
    assert found.checkpoint.status == "failed"
    assert found.problems[0].startswith("nan-F16.gguf does not match the converted checkpoint: logits are not finite")
    assert "nan-F16.gguf cannot recommend: the model's logits are not numbers" in found.problems
    assert found.files[1].overlap is None


def test_progress_reaches_the_end_of_every_stage(converted_models: ConvertedModels, own_home: Path) -> None:
    reported: dict[str, tuple[int, int]] = {}
    small_verify(
        converted_models,
        [converted_models.q8],
        converted_models.checkpoint,
        n_positions=300,
        n_histories=2,
        on_progress=lambda stage, done, total: reported.update({stage: (done, total)}),
    )
    assert reported == {
        "logits of the checkpoint": (2, 2),
        "logits of tiny-Q8_0.gguf": (2, 2),
        "recommendations of tiny-F16.gguf": (2, 2),
        "recommendations of tiny-Q8_0.gguf": (2, 2),
    }


def test_a_file_that_is_no_model_is_refused_before_anything_runs(
    converted_models: ConvertedModels, tmp_path: Path
) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelInvalidError, match=r"x\.gguf"):
        small_verify(converted_models, [tmp_path / "x.gguf"], None)
