"""Verification of converted files: real files, small models, and truth from transformers, torch and brute force."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.convert.verification import reference as reference_module
from genrec_edge.convert.verification import samples
from genrec_edge.convert.verification.logit_divergence import DivergenceAccumulator, LogitAgreement, compare_logits
from genrec_edge.convert.verification.recommendations import hit_rate
from genrec_edge.convert.verification.results import agrees
from genrec_edge.convert.verification.run import verify
from genrec_edge.decoding import prompts
from genrec_edge.engine.bindings import Model, quantize
from genrec_edge.errors import CatalogError, ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header
from genrec_edge.recommender import Recommender

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.verification.results import FileFigures, Verification

pytestmark = pytest.mark.slow

N_HEADS, N_KV_HEADS = 4, 2


@dataclass(frozen=True)
class Family:
    """A tiny model in all forms: what it was converted from, the conversion, quantizations, and one gone wrong."""

    checkpoint: Path
    f16: Path
    q8: Path
    q4: Path
    bad: Path
    catalog: Path


@pytest.fixture(scope="session")
def family(tiny_llama: Path, films_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Family:
    folder = tmp_path_factory.mktemp("family")
    source = soften(tiny_llama, folder / "source.gguf")
    made = Family(
        checkpoint=write_checkpoint(folder / "checkpoint", source),
        f16=folder / "tiny-F16.gguf",
        q8=folder / "tiny-Q8_0.gguf",
        q4=folder / "tiny-Q4_0.gguf",
        bad=folder / "tiny-bad-Q4_0.gguf",
        catalog=folder / "some-films.db",
    )
    quantize(source, made.f16, "F16", n_threads=1)
    quantize(made.f16, made.q8, "Q8_0", n_threads=1)
    quantize(made.f16, made.q4, "Q4_0", n_threads=1)
    scramble(made.q4, made.bad)
    with Catalog.open(films_path) as films:
        rows = [row for row, _, _ in films.titles()][::150]
        items = [{"id": item.id, "title": item.title, "year": item.year} for item in films.items(rows)]
    (folder / "films.json").write_text(json.dumps(items), encoding="utf-8")
    build(folder / "films.json", made.catalog)
    return made


def soften(source: Path, target: Path) -> Path:
    """Copy the tiny LLaMA with half the weights, as half floats can hold them: the larger ones amplify rounding."""
    data = bytearray(source.read_bytes())
    for tensor in read_header(source).tensors:
        if len(tensor.shape) == 2:
            weights = np.frombuffer(data, np.float32, tensor.n_elements, tensor.offset)
            weights[:] = (weights / 2).astype(np.float16)
    target.write_bytes(data)
    return target


def write_checkpoint(folder: Path, source: Path) -> Path:
    """Write the tiny LLaMA as a Hugging Face folder, without any of our own code."""
    folder.mkdir()
    reader = gguf.GGUFReader(source)
    parts = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "token_embd": "embed_tokens", "output_norm": "norm",
    }  # fmt: skip
    tensors = {}
    for tensor in reader.tensors:
        *block, part, _ = tensor.name.split(".")
        data = np.array(tensor.data)
        for name, n_heads in (("attn_q", N_HEADS), ("attn_k", N_KV_HEADS)):
            if part == name:  # back to rotating halves
                pairs = data.reshape(n_heads, data.shape[0] // n_heads // 2, 2, data.shape[1])
                data = np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(data.shape))
        prefix = f"model.layers.{block[1]}" if block else "model"
        tensors[f"{prefix}.{parts[part]}.weight"] = data
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(tokens), "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": None, "eos_token_id": len(tokens) - 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, tokens, reader.fields["tokenizer.ggml.merges"].contents())
    return folder


def write_tokenizer(folder: Path, tokens: Sequence[str], merges: Sequence[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs: Any = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([tokens[-1]])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": tokens[-1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def scramble(source: Path, target: Path) -> None:
    """Copy a GGUF with the quants of each matrix in another order, their scales in place."""
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(1)
    for tensor in read_header(source).tensors:
        if block_bytes := {"Q4_0": 18, "Q8_0": 34}.get(tensor.type):
            blocks = np.frombuffer(data, np.uint8, tensor.n_bytes, tensor.offset).reshape(-1, block_bytes)
            blocks[:, 2:] = rng.permutation(blocks[:, 2:].ravel()).reshape(-1, block_bytes - 2)
    target.write_bytes(data)


@pytest.fixture(scope="session")
def verified(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Verification:
    """The verification of the whole family; the test split holds what the F16 file ranks tenth."""
    folder = tmp_path_factory.mktemp("verified")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(folder))
        lines = []
        with Recommender.open(family.f16, family.catalog, n_threads=1) as recommender:
            items = recommender.catalog.items([row for row, _, _ in recommender.catalog.titles()])
            for i in range(8):
                history = [item.title for item in items[i * 5 : i * 5 + 5]]
                tenth = recommender.recommend(history, k=10).items[9].item
                lines.append(json.dumps({"history": history, "target": tenth.id}))
        (folder / "test.jsonl").write_text("\n".join(lines))
        return verify(
            family.f16,
            [family.f16, family.q8, family.q4, family.bad],
            checkpoint=family.checkpoint,
            catalog=family.catalog,
            test=folder / "test.jsonl",
            n_titles=100,
            n_positions=600,
            n_histories=6,
            n_threads=1,
            seed=3,
        )


def small_verify(family: Family, files: list[Path], checkpoint: Path | None, **changed: Any) -> Verification:
    sizes = {"n_titles": 30, "n_positions": 40, "n_histories": 1, "n_threads": 1, "seed": 0, "test": None}
    reference = changed.pop("reference", family.f16)
    return verify(reference, files, checkpoint=checkpoint, catalog=family.catalog, **{**sizes, **changed})


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


def test_sizes_and_speed_are_those_of_the_files(verified: Verification, family: Family) -> None:
    assert [f.n_bytes for f in verified.files] == [
        path.stat().st_size for path in (family.f16, family.q8, family.q4, family.bad)
    ]
    assert verified.files[0].bits_per_weight == pytest.approx(16, abs=0.2)  # norms are F32
    assert verified.files[1].bits_per_weight == pytest.approx(8.5, abs=0.2)
    assert verified.speed_ratio(verified.files[0]) == 1
    for figures in verified.files:
        assert figures.request_s is not None
        assert figures.request_s > 0
        assert (figures.prompt_tokens_per_s or 0) > 0
        assert verified.speed_ratio(figures) == pytest.approx((verified.files[0].request_s or 0) / figures.request_s)


def test_divergence_of_a_file_equals_brute_force(verified: Verification, family: Family) -> None:
    """All logits at once, from the high-level bindings, and the divergence from torch."""
    import llama_cpp

    with closing(Model(family.f16)) as model, Catalog.open(family.catalog) as catalog:
        sequences = samples.draw_sequences(model, catalog, 600, seed=3, n_ctx=2048)
    logits = []
    for path in (family.f16, family.q4):
        llama: Any = llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, logits_all=True, verbose=False)
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


def test_overlap_equals_the_answers_of_two_recommenders(verified: Verification, family: Family, own_home: Path) -> None:
    with Catalog.open(family.catalog) as catalog:
        histories = samples.draw_histories(catalog, 6, 10, seed=3)
    answers = []
    for path in (family.f16, family.bad):
        with Recommender.open(path, family.catalog, n_threads=1) as recommender:
            answers.append([{r.item.id for r in recommender.recommend(h, k=10).items} for h in histories])
    expected = sum(len(a & b) for a, b in zip(*answers, strict=True)) / 60
    assert verified.files[3].overlap == pytest.approx(expected)


def test_everything_is_json(verified: Verification) -> None:
    document = json.loads(json.dumps(verified.as_dict(), allow_nan=False))
    assert document["files"][1]["agreement"]["n_positions"] == 600
    assert document["files"][1]["speed_ratio"] == verified.speed_ratio(verified.files[1])
    assert document["problems"] == []


def test_the_same_seed_gives_the_same_figures(family: Family, own_home: Path) -> None:
    first, second = (small_verify(family, [family.q4], None, n_histories=2) for _ in range(2))
    without_times = [[replace(f, request_s=None, prompt_tokens_per_s=None) for f in v.files] for v in (first, second)]
    assert without_times[0] == without_times[1]
    assert agreement_of(small_verify(family, [family.q4], None, seed=9).files[1]) != agreement_of(first.files[1])


def test_another_checkpoint_is_a_problem(family: Family, tmp_path: Path, own_home: Path) -> None:
    from safetensors.numpy import load_file

    shutil.copytree(family.checkpoint, tmp_path / "other")
    tensors = load_file(tmp_path / "other" / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.weight"] = tensors["model.layers.0.self_attn.q_proj.weight"][::-1].copy()
    save_file(tensors, tmp_path / "other" / "model.safetensors", metadata={"format": "pt"})
    found = small_verify(family, [], tmp_path / "other", n_positions=200)
    assert found.checkpoint.status == "failed"
    (problem,) = found.problems
    assert problem.startswith("tiny-F16.gguf does not match the converted checkpoint: top-1 agreement 0.")
    assert "(at least 0.995 expected), mean KL " in problem
    assert "largest difference of a logit" in problem


def test_other_token_ids_are_a_problem(family: Family, tmp_path: Path, own_home: Path) -> None:
    shutil.copytree(family.checkpoint, tmp_path / "other")
    tokenizer = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    tokenizer["model"]["merges"].remove(["T", "h"])
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = small_verify(family, [], family.checkpoint, tokenizer=tmp_path / "other", n_titles=10_000)
    with Catalog.open(family.catalog) as catalog:
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


def test_a_special_token_in_a_title_is_plain_text_on_both_sides(family: Family) -> None:
    with closing(Model(family.f16, vocab_only=True)) as model:
        found = reference_module.check_tokenizer(
            model, family.checkpoint, ["Before <|end|> after", "東京物語", "a\tb  c 1984"]
        )
    assert (found.status, found.mismatches) == ("passed", ())


def changed_copy(source: Path, target: Path, old: bytes, new: bytes) -> Path:
    data = source.read_bytes()
    assert data.count(old) == 1
    assert len(old) == len(new)
    target.write_bytes(data.replace(old, new))
    return target


def test_a_quant_with_another_tokenizer_is_a_problem_and_not_compared(
    family: Family, tmp_path: Path, own_home: Path
) -> None:
    other = changed_copy(family.q8, tmp_path / "other-Q8_0.gguf", b"T h", b"T e")
    found = small_verify(family, [other, family.q8], None)
    assert found.problems == ("other-Q8_0.gguf has another tokenizer than tiny-F16.gguf",)
    assert (found.files[1].agreement, found.files[1].overlap, found.files[1].request_s) == (None, None, None)
    assert agreement_of(found.files[2]).n_positions == 40


def with_nan(source: Path, target: Path) -> Path:
    data = bytearray(source.read_bytes())
    tensor = next(t for t in read_header(source).tensors if t.name == "token_embd.weight")
    data[tensor.offset : tensor.offset + 2] = np.float16("nan").tobytes()  # a weight, or the scale of a block
    target.write_bytes(data)
    return target


def test_logits_that_are_no_numbers_are_a_problem(family: Family, tmp_path: Path, own_home: Path) -> None:
    nan = with_nan(family.q8, tmp_path / "nan-Q8_0.gguf")
    found = small_verify(family, [nan, family.q8], None)
    assert found.files[1].agreement == LogitAgreement(40, 40, None, None, None, None)
    assert found.problems == (
        "nan-Q8_0.gguf: logits are not finite at 40 of 40 positions",
        "nan-Q8_0.gguf cannot recommend: the model's logits are not numbers",
    )
    assert found.files[2].overlap is not None
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_reference_that_is_no_model_is_a_problem_of_everything(
    family: Family, tmp_path: Path, own_home: Path
) -> None:
    nan = with_nan(family.f16, tmp_path / "nan-F16.gguf")
    found = small_verify(family, [family.q8], family.checkpoint, reference=nan)
    assert found.checkpoint.status == "failed"
    assert found.problems[0].startswith("nan-F16.gguf does not match the converted checkpoint: logits are not finite")
    assert "nan-F16.gguf cannot recommend: the model's logits are not numbers" in found.problems
    assert found.files[1].overlap is None


def test_without_a_checkpoint_it_says_so(family: Family, own_home: Path) -> None:
    found = small_verify(family, [], None)
    assert found.tokenizer.status == found.checkpoint.status == "skipped"
    assert found.tokenizer.reason == "there is no Hugging Face folder with the tokenizer"
    assert found.checkpoint.reason == "there is no merged Hugging Face checkpoint"
    assert found.problems == ()


@pytest.mark.parametrize(
    ("n_not_finite", "kl", "top1", "good"),
    [
        (0, 1e-3, 0.995, True),
        (0, 1.1e-3, 1.0, False),
        (0, 0.0, 0.994, False),
        (1, 0.0, 1.0, False),
        (9, None, None, False),
    ],
)
def test_where_agreement_ends(n_not_finite: int, kl: float | None, top1: float | None, good: bool) -> None:
    assert agrees(LogitAgreement(2000, n_not_finite, kl, kl, top1, 0.1)) is good


def test_a_folder_transformers_cannot_load_says_so(family: Family, tmp_path: Path, own_home: Path) -> None:
    found = small_verify(family, [], tmp_path)
    assert found.tokenizer.status == found.checkpoint.status == "skipped"
    for reason in (found.tokenizer.reason, found.checkpoint.reason):
        assert reason.startswith(f"transformers cannot load {tmp_path}: ")
        assert "\n" not in reason


def test_a_checkpoint_larger_than_memory_is_not_loaded(
    family: Family, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       8000000 kB\nMemAvailable:         100 kB\n")
    monkeypatch.setattr(reference_module, "_MEMORY_FILES", (tmp_path / "meminfo", tmp_path / "none"))
    found = small_verify(family, [], family.checkpoint)
    assert found.checkpoint.status == "skipped"
    assert found.checkpoint.reason == "transformers needs 0.0 GB of memory for it, and 0.0 GB are available"
    assert found.tokenizer.status == "passed"


def test_memory_is_what_the_kernel_and_the_container_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    monkeypatch.setattr(reference_module, "_MEMORY_FILES", (meminfo, limit))
    assert (reference_module.available_memory() or 0) > 1 << 20  # all the machine has
    meminfo.write_text("MemTotal: 8000 kB\nMemAvailable: 3000 kB\nHugePages_Total: 0\n")
    assert reference_module.available_memory() == 3000 * 1024
    limit.write_text("max\n")
    assert reference_module.available_memory() == 3000 * 1024
    limit.write_text("1048576\n")
    assert reference_module.available_memory() == 1 << 20


def test_without_the_extra_it_says_so_and_nothing_heavy_is_loaded(family: Family, own_home: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.modules["torch"] = sys.modules["transformers"] = None
from genrec_edge.convert.verification.results import agrees
from genrec_edge.convert.verification.run import verify
found = verify(Path({str(family.f16)!r}), [], checkpoint=Path({str(family.checkpoint)!r}),
    catalog=Path({str(family.catalog)!r}), test=None, n_threads=1, seed=0, n_positions=5, n_histories=1)
assert found.problems == (), found
assert "matplotlib" not in sys.modules
print(found.tokenizer.status, found.tokenizer.reason)
print(found.checkpoint.status, found.checkpoint.reason)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "skipped transformers is not installed; pip install 'genrec-edge[train]'",
        "skipped torch is not installed; pip install 'genrec-edge[train]'",
    ]


def test_progress_reaches_the_end_of_every_stage(family: Family, own_home: Path) -> None:
    told: dict[str, tuple[int, int]] = {}
    small_verify(
        family,
        [family.q8],
        family.checkpoint,
        n_positions=300,
        n_histories=2,
        on_progress=lambda stage, done, total: told.update({stage: (done, total)}),
    )
    assert told == {
        "logits of the checkpoint": (2, 2),
        "logits of tiny-Q8_0.gguf": (2, 2),
        "recommendations of tiny-F16.gguf": (2, 2),
        "recommendations of tiny-Q8_0.gguf": (2, 2),
    }


def test_a_file_that_is_no_model_is_refused_before_anything_runs(family: Family, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelInvalidError, match=r"x\.gguf"):
        small_verify(family, [tmp_path / "x.gguf"], None)


# --- the figures ---------------------------------------------------------------------------------------------------


def test_figures_equal_those_of_torch_however_the_logits_are_cut() -> None:
    rng = np.random.default_rng(0)
    p = (rng.normal(0, 4, (50, 3000))).astype(np.float32)
    q = (p + rng.normal(0, 0.5, p.shape)).astype(np.float32)
    comparison = DivergenceAccumulator()
    for start, end in ((0, 1), (1, 30), (30, 50)):
        comparison.add(p[start:end], q[start:end])
    found = comparison.agreement()
    log_p, log_q = (torch.log_softmax(torch.from_numpy(x).double(), dim=1) for x in (p, q))
    kl = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(dim=1)
    assert found.mean_kl == pytest.approx(float(kl.mean()), rel=1e-12)
    assert found.max_kl == pytest.approx(float(kl.max()), rel=1e-12)
    assert found.top1 == np.mean([p[i].argmax() == q[i].argmax() for i in range(50)])
    assert found.max_abs_diff == pytest.approx(float(np.abs(p.astype(np.float64) - q).max()))
    assert (found.n_positions, found.n_not_finite) == (50, 0)


def test_a_shift_of_all_logits_changes_no_distribution() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 500)).astype(np.float32)
    found = compared(logits, logits + np.float32(2))
    assert found.mean_kl is not None
    assert 0 <= found.mean_kl < 1e-9
    assert found.top1 == 1
    assert found.max_abs_diff == pytest.approx(2, abs=1e-5)


def test_huge_logits_do_not_overflow() -> None:
    p = np.array([[3e38, -3e38, 0]], np.float32)
    found = compared(p, p)
    assert (found.mean_kl, found.n_not_finite) == (0, 0)


def test_positions_without_numbers_are_counted_and_left_out() -> None:
    p = np.random.default_rng(0).normal(0, 3, (6, 9)).astype(np.float32)
    q = p[:, ::-1].copy()
    whole = compared(p[2:], q[2:])
    p[0, 3], q[1, 8] = np.nan, np.inf
    found = compared(p, q)
    assert (found.n_positions, found.n_not_finite) == (6, 2)
    assert found.mean_kl == pytest.approx(whole.mean_kl)
    assert found.top1 == whole.top1
    assert compared(p[:1], q[:1]) == LogitAgreement(1, 1, None, None, None, None)


def test_other_vocabularies_cannot_be_compared() -> None:
    with pytest.raises(ModelInvalidError, match="vocabularies of 5 and 6 tokens"):
        DivergenceAccumulator().add(np.zeros((2, 5), np.float32), np.zeros((2, 6), np.float32))


def test_only_positions_from_the_start_on_count() -> None:
    calls: list[tuple[int, ...]] = []

    def model(token_ids: Sequence[int]) -> NDArray[np.float32]:
        calls.append(tuple(token_ids))
        return np.eye(len(token_ids), 4, dtype=np.float32)

    found = compare_logits(model, model, [(1, 2, 3), (1, 2, 3, 1)], start=2)
    assert found.n_positions == 3
    assert calls == [(1, 2, 3)] * 2 + [(1, 2, 3, 1)] * 2


def compared(p: NDArray[np.float32], q: NDArray[np.float32]) -> LogitAgreement:
    comparison = DivergenceAccumulator()
    comparison.add(p, q)
    return comparison.agreement()


def test_hit_rate_and_ndcg() -> None:
    found = hit_rate([1, math.inf, 3, 10])
    assert (found.n, found.hit_rate) == (4, 0.75)
    assert found.ndcg == pytest.approx((1 + 0.5 + 1 / math.log2(11)) / 4)


# --- what is asked -------------------------------------------------------------------------------------------------


def test_prompts_are_those_of_the_recommender(family: Family) -> None:
    with closing(Model(family.f16)) as model, Catalog.open(family.catalog) as catalog:
        drawn = samples.draw_sequences(model, catalog, 1000, seed=5, n_ctx=2048)
        again = samples.draw_sequences(model, catalog, 1000, seed=5, n_ctx=2048)
        other = samples.draw_sequences(model, catalog, 1000, seed=6, n_ctx=2048)
        instruction = tuple(model.tokenize(prompts.INSTRUCTION))
        titles = {title for _, title, _ in catalog.titles()}
        text = model.detokenize(list(drawn.token_ids[0][drawn.start :]))
    assert drawn == again != other
    assert all(ids[: drawn.start] == instruction and len(ids) <= 256 for ids in drawn.token_ids)
    assert sum(len(ids) - drawn.start for ids in drawn.token_ids) == 1000
    lines = text.split("\n")[:-1]
    assert len(lines) > 5
    assert set(lines) <= titles


def test_histories_leave_enough_to_recommend(family: Family, tmp_path: Path) -> None:
    with Catalog.open(family.catalog) as catalog:
        histories = samples.draw_histories(catalog, 4, 10, seed=1)
    assert [len({i.id for i in history}) for history in histories] == [20] * 4
    assert len(set(histories)) == 4
    for n, length in ((12, 2), (10, None)):
        (tmp_path / "x.csv").write_text("id,title\n" + "".join(f"{i},Film {i}\n" for i in range(n)))
        build(tmp_path / "x.csv", tmp_path / f"{n}.db")
        with Catalog.open(tmp_path / f"{n}.db") as catalog:
            if length is None:
                with pytest.raises(CatalogError, match="has 10 items, and 10 are to be recommended"):
                    samples.draw_histories(catalog, 1, 10, seed=1)
            else:
                assert len(samples.draw_histories(catalog, 1, 10, seed=1)[0]) == length


def test_titles_too_long_for_a_prompt_are_refused(family: Family, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,title\n" + "".join(f"{i},{'x' * 300}{i}\n" for i in range(20)))
    build(tmp_path / "x.csv", tmp_path / "x.db")
    with (
        closing(Model(family.f16)) as model,
        Catalog.open(tmp_path / "x.db") as catalog,
        pytest.raises(CatalogError, match="longer than the 256 tokens"),
    ):
        samples.draw_sequences(model, catalog, 100, seed=0, n_ctx=2048)


def test_a_split_names_items_by_id_or_title(family: Family, tmp_path: Path) -> None:
    with Catalog.open(family.catalog) as catalog:
        a, b, c = catalog.items([row for row, _, _ in catalog.titles()][:3])
        lines = [
            {"history": [a.id, b.title, "no such film anywhere"], "target": c.title},
            {"history": [c.id], "target": a.id},
        ]
        (tmp_path / "t.jsonl").write_text("\n\n".join(map(json.dumps, lines)) + "\n")
        split = samples.read_split(tmp_path / "t.jsonl", catalog)
    assert split.n_unresolved == 1
    assert [([i.id for i in case.history], case.target_id) for case in split.cases] == [
        ([a.id, b.id], c.id),
        ([c.id], a.id),
    ]


def test_everything_wrong_with_a_split_is_one_error(family: Family, tmp_path: Path) -> None:
    with Catalog.open(family.catalog) as catalog:
        known = next(catalog.titles())[1]
        lines = [
            b"not json",
            b"[1]",
            json.dumps({"history": known, "target": known}).encode(),
            json.dumps({"history": [known], "target": "no such film anywhere"}).encode(),
            json.dumps({"history": ["no such film anywhere"], "target": known}).encode(),
            b"\xff\xfe",
            b"[" * 100_000,
        ]
        (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines))
        with pytest.raises(UsageError) as caught:
            samples.read_split(tmp_path / "t.jsonl", catalog)
        for part in (
            "line 1 is not JSON",
            'line 2 is not an object with "history" and "target"',
            "line 3 has a history or a target that is not text",
            "line 4 has the target 'no such film anywhere', which is not in the catalog",
            "line 5 has a history without any item of the catalog",
            "; and 2 more",
        ):
            assert part in caught.value.message
        assert "\n" not in caught.value.message
        (tmp_path / "empty.jsonl").write_text("\n")
        with pytest.raises(UsageError, match="it is empty"):
            samples.read_split(tmp_path / "empty.jsonl", catalog)
        with pytest.raises(UsageError, match="cannot be read"):
            samples.read_split(tmp_path / "missing.jsonl", catalog)
