"""LoRA adapters at run time: the same answers as merged weights, and one clear line for what does not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from genrec_edge import Recommender, cli
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.llama_engine import LlamaEngine
from genrec_edge.errors import EngineError, ModelInvalidError, UsageError
from genrec_edge.gguf.adapter import check_adapter, find_adapter
from genrec_edge.gguf.header import read_header
from genrec_edge.records import ScoreKind
from tests.support.coordinates import token_list

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("own_home")

HISTORY = ("Jaws", "Fargo")
WIDTH, KV_WIDTH, HIDDEN = 32, 16, 64
RANK = 4


def write_adapter(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    *,
    keys: Mapping[str, Any] | None = None,
    architecture: str = "llama",
    kind: str = "F32",
) -> Path:
    """Write a LoRA GGUF with the `gguf` package; a key of None is left out, `kind` is the type of all tensors."""
    gguf = pytest.importorskip("gguf")
    values = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": np.float32(8), **(keys or {})}
    writer = gguf.GGUFWriter(path, architecture)
    add = {
        str: writer.add_string,
        int: writer.add_uint32,
        np.float32: writer.add_float32,
        float: writer.add_float64,
        list: writer.add_array,
    }
    for key, value in values.items():
        if value is not None:
            add[type(value)](key, value)
    quant = gguf.GGMLQuantizationType[kind]
    for name, tensor in tensors.items():
        if tensor.dtype == np.float32:
            writer.add_tensor(name, gguf.quants.quantize(tensor, quant), raw_dtype=quant)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def pair(name: str, rows: int, columns: int, *, rank: int = RANK, seed: int = 0) -> dict[str, Floats]:
    """Return random A (rank, columns) and B (rows, rank) of a weight."""
    rng = np.random.default_rng([seed, *name.encode()])
    a = rng.normal(0, 0.1, (rank, columns)).astype(np.float32)
    b = rng.normal(0, 0.1, (rows, rank)).astype(np.float32)
    return {f"{name}.lora_a": a, f"{name}.lora_b": b}


def all_pairs(rank: int = RANK) -> dict[str, Floats]:
    shapes = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (KV_WIDTH, WIDTH),
        "attn_v": (KV_WIDTH, WIDTH),
        "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (HIDDEN, WIDTH),
        "ffn_up": (HIDDEN, WIDTH),
        "ffn_down": (WIDTH, HIDDEN),
    }
    tensors: dict[str, Floats] = {}
    for layer in range(2):
        for name, shape in shapes.items():
            tensors |= pair(f"blk.{layer}.{name}.weight", *shape, rank=rank)
    return tensors


def merged(base: Path, path: Path, deltas: Mapping[str, Floats]) -> Path:
    """Copy a GGUF of float32 weights and add a matrix to each weight that is named."""
    gguf = pytest.importorskip("gguf")
    shutil.copy(base, path)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path, "r+").tensors}
    for name, delta in deltas.items():
        tensors[name].data[:] += delta
    return path


def deltas_of(tensors: Mapping[str, Floats], alpha: float = 8.0) -> dict[str, Floats]:
    """Return alpha / rank * B @ A by the name of the weight, as in section 4.1 of arXiv 2106.09685."""
    names = [name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")]
    found = {}
    for name in names:
        a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        found[name] = np.float32(alpha / a.shape[0]) * (b @ a)
    return found


def scores(model: Path, catalog: Path, adapter: Path | None = None, score: ScoreKind | None = None) -> dict[str, float]:
    """Return the log-probability of every item of a catalog."""
    with Recommender.open(model, catalog, adapter=adapter, n_threads=1, score=score) as r:
        result = r.recommend(HISTORY, k=60, allow_seen=True)
        assert result.model["adapter"] == (None if adapter is None else str(adapter))
    return {item.item.id: item.logprob for item in result.items}


def furthest(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    assert ours.keys() == theirs.keys()
    return max(abs(ours[key] - theirs[key]) for key in ours)


def best(found: Mapping[str, float]) -> dict[str, float]:
    """Return the ten best: long titles a hundred nats away differ by more, since the KV cache holds half floats."""
    return dict(list(found.items())[:10])


def logits(model: Path, adapter: Path | None = None) -> Floats:
    """Return the logits after 50 tokens."""
    engine = LlamaEngine(Model(model, adapter_path=adapter), n_ctx=256, n_threads=1)
    row = engine.prompt(token_list(range(40, 90)))[0].copy()
    engine.close()
    return row


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "rank"), [(8.0, 4), (16.0, 8), (0.5, 1), (-2.0, 3)])
def test_an_adapter_answers_as_merged_weights_do(
    tmp_path: Path, tiny_llama: Path, tricky_path: Path, alpha: float, rank: int
) -> None:
    tensors = all_pairs(rank)
    adapter = write_adapter(tmp_path / "a.gguf", tensors, keys={"adapter.lora.alpha": np.float32(alpha)})
    model = merged(tiny_llama, tmp_path / "m.gguf", deltas_of(tensors, alpha))
    assert np.abs(logits(tiny_llama, adapter) - logits(model)).max() < 1e-2  # half floats in the KV cache
    assert np.abs(logits(tiny_llama) - logits(model)).max() > 0.1  # else the adapter would not matter
    ours, truth = scores(tiny_llama, tricky_path, adapter), scores(model, tricky_path)
    assert furthest(best(ours), best(truth)) < 1e-2
    assert furthest(scores(tiny_llama, tricky_path), truth) > 1


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tolerance"), [("F16", 0.1), ("BF16", 0.3), ("Q8_0", 0.5)])
def test_the_types_that_converters_write_are_run(
    tmp_path: Path, tiny_llama: Path, tricky_path: Path, kind: str, tolerance: float
) -> None:
    gguf = pytest.importorskip("gguf")
    quant = gguf.GGMLQuantizationType[kind]
    tensors = all_pairs(rank=32)  # a whole block of Q8_0
    rounded = {
        name: gguf.quants.dequantize(gguf.quants.quantize(tensor, quant), quant) for name, tensor in tensors.items()
    }
    adapter = write_adapter(tmp_path / "a.gguf", tensors, kind=kind)
    truth = scores(merged(tiny_llama, tmp_path / "m.gguf", deltas_of(rounded)), tricky_path)
    assert furthest(scores(tiny_llama, tricky_path, adapter), truth) < tolerance
    assert furthest(scores(tiny_llama, tricky_path), truth) > 5


def untied(base: Path, path: Path, tiny_gguf: Callable[..., Path]) -> Path:
    """Copy a model with an output matrix of its own."""
    reader = pytest.importorskip("gguf").GGUFReader(base)
    keys = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    keys.pop("general.architecture")
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    tensors["output.weight"] = tensors["token_embd.weight"][::-1].copy()
    return tiny_gguf(path, n_tokens=len(keys["tokenizer.ggml.tokens"]), keys=keys, tensors=tensors)


@pytest.mark.slow
@pytest.mark.parametrize("score", get_args(ScoreKind))
def test_embedding_and_output_of_an_untied_model_can_be_adapted(
    tmp_path: Path, tiny_llama: Path, tricky_path: Path, tiny_gguf: Callable[..., Path], score: ScoreKind
) -> None:
    base = untied(tiny_llama, tmp_path / "untied.gguf", tiny_gguf)
    n_tokens = read_header(base).tensors[0].shape[1]
    output, embedding = (pair(name, n_tokens, WIDTH) for name in ("output.weight", "token_embd.weight"))
    a, b = embedding["token_embd.weight.lora_a"], embedding["token_embd.weight.lora_b"]
    # llama.cpp looks A up by token, so both halves lie the other way round: (tokens, rank) and (width, rank).
    swapped = {"token_embd.weight.lora_a": b, "token_embd.weight.lora_b": np.ascontiguousarray(a.T)}
    adapter = write_adapter(tmp_path / "a.gguf", {**output, **swapped})
    model = merged(base, tmp_path / "m.gguf", deltas_of({**output, **embedding}))
    truth = scores(model, tricky_path, score=score)
    assert furthest(best(scores(base, tricky_path, adapter, score)), best(truth)) < 1e-3
    assert furthest(scores(base, tricky_path, score=score), truth) > 1


@pytest.mark.slow
def test_two_recommenders_of_one_model_do_not_share_an_adapter(
    tmp_path: Path, tiny_llama: Path, tricky_path: Path
) -> None:
    plain = scores(tiny_llama, tricky_path)
    adapter = write_adapter(tmp_path / "a.gguf", all_pairs())
    with Recommender.open(tiny_llama, tricky_path, adapter=adapter, n_threads=1) as adapted:
        before = adapted.recommend(HISTORY, k=5).items
        assert furthest(scores(tiny_llama, tricky_path), plain) < 1e-3
        after = adapted.recommend(HISTORY, k=5).items
    assert [item.item.id for item in before] == [item.item.id for item in after]
    assert [item.logprob for item in before] == pytest.approx([item.logprob for item in after], abs=1e-3)


Q = "blk.0.attn_q.weight"
GOOD = pair(Q, WIDTH, WIDTH)
NORM = "blk.0.attn_norm.weight"
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"keys": {"general.type": None}}, "general.type is missing, not 'adapter'"),
    "type": ({"keys": {"general.type": 7}}, "general.type is 7, not 'adapter'"),
    "control vector": ({"keys": {"adapter.type": "control_vector"}}, "adapter.type is 'control_vector', not 'lora'"),
    "architecture": ({"architecture": "qwen2"}, "it is for a 'qwen2' model, and this is a llama model"),
    "no alpha": ({"keys": {"adapter.lora.alpha": None}}, "adapter.lora.alpha is missing, not a float32 other"),
    "alpha 0": ({"keys": {"adapter.lora.alpha": np.float32(0)}}, "adapter.lora.alpha is 0.0"),
    "alpha NaN": ({"keys": {"adapter.lora.alpha": np.float32("nan")}}, "adapter.lora.alpha is nan"),
    "alpha infinite": ({"keys": {"adapter.lora.alpha": np.float32("inf")}}, "adapter.lora.alpha is inf"),
    "alpha that aborts": ({"keys": {"adapter.lora.alpha": 8.0}}, "adapter.lora.alpha is 8.0, not a float32"),
    "alpha text": ({"keys": {"adapter.lora.alpha": "8"}}, "adapter.lora.alpha is '8', not a float32"),
    "alpha list": ({"keys": {"adapter.lora.alpha": [1.0, 2.0]}}, "adapter.lora.alpha is a list of 2 float32"),
    "activated": ({"keys": {"adapter.alora.invocation_tokens": [1, 2]}}, "it is an activated LoRA"),
    "empty": ({"tensors": {}}, "it holds no tensors"),
    "half a pair": ({"tensors": {f"{Q}.lora_a": GOOD[f"{Q}.lora_a"]}}, f"{Q}.lora_a has no lora_b"),
    "other half": ({"tensors": {f"{Q}.lora_b": GOOD[f"{Q}.lora_b"]}}, f"{Q}.lora_b has no lora_a"),
    "trained norm": ({"tensors": {**GOOD, NORM: np.ones(WIDTH, np.float32)}}, f"{NORM} is neither a lora_a nor"),
    "ignored norm": ({"tensors": pair(NORM, 1, WIDTH)}, f"{NORM} is not a matrix in this model"),
    "deep layer": ({"tensors": pair("blk.2.attn_q.weight", WIDTH, WIDTH)}, "blk.2.attn_q.weight is not a tensor"),
    "head of a tied model": ({"tensors": pair("output.weight", 270, WIDTH)}, "output.weight is not a tensor"),
    "embedding that aborts": ({"tensors": pair("token_embd.weight", 270, WIDTH)}, "is the output of this model too"),
    "wide": ({"tensors": pair(Q, WIDTH, 64)}, f"{Q}: (64, 4) and (4, 32) do not fit the model's (32, 32)"),
    "tall": ({"tensors": pair(Q, 33, WIDTH)}, f"{Q}: (32, 4) and (4, 33) do not fit the model's (32, 32)"),
    "two ranks": (
        {"tensors": {**GOOD, f"{Q}.lora_b": np.ones((WIDTH, 5), np.float32)}},
        f"{Q}: (32, 4) and (5, 32) do not fit the model's (32, 32)",
    ),
    "transposed": (
        {"tensors": {name: np.ascontiguousarray(tensor.T) for name, tensor in GOOD.items()}},
        f"{Q}: (4, 32) and (32, 4) do not fit the model's (32, 32)",
    ),
    "three dimensions that abort": (
        {"tensors": {name: np.stack([tensor, tensor]) for name, tensor in GOOD.items()}},
        f"{Q}: (32, 4, 2) and (4, 32, 2) do not fit the model's (32, 32)",
    ),
    "integers that crash": (
        {"tensors": {name: tensor.astype(np.int32) for name, tensor in GOOD.items()}},
        f"{Q}.lora_a is of type I32, not one of F32, F16, BF16, Q8_0",
    ),
}


def recommend(model: Path, catalog: Path, adapter: Path | str, *options: str) -> Any:
    """Run the command in this process; nothing but our own exits may happen."""
    arguments = ["recommend", "--model", model, "--catalog", catalog, "--adapter", adapter, "--threads", "1", *options]
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def assert_one_line(result: Any, exit_code: int, message: str) -> None:
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_one_line_and_exit_5(
    tmp_path: Path, tiny_llama: Path, tricky_path: Path, name: str
) -> None:
    options, found = MISFITS[name]
    adapter = write_adapter(tmp_path / "bad.gguf", **{"tensors": GOOD, **options})
    result = recommend(tiny_llama, tricky_path, adapter)
    assert_one_line(result, 5, found)
    assert str(adapter) in result.stderr


def test_all_misfits_come_in_one_error(tmp_path: Path, tiny_llama: Path) -> None:
    tensors = {**all_pairs(), **pair("blk.1.attn_v.weight", 8, WIDTH), **pair("blk.5.ffn_up.weight", HIDDEN, WIDTH)}
    adapter = write_adapter(tmp_path / "a.gguf", tensors, architecture="qwen3")
    with pytest.raises(ModelInvalidError) as caught:
        check_adapter(read_header(adapter), read_header(tiny_llama))
    for found in ("it is for a 'qwen3' model", "blk.1.attn_v.weight: (32, 4) and (4, 8)", "blk.5.ffn_up.weight is no"):
        assert found in caught.value.message
    assert "attn_q" not in caught.value.message


def test_a_message_of_thousands_of_misfits_stays_readable(tmp_path: Path, tiny_llama: Path) -> None:
    tensors = {f"blk.{i}.x.weight.lora_{half}": np.ones((1, 1), np.float32) for i in range(1000) for half in "ab"}
    with pytest.raises(ModelInvalidError, match=r"; and 960 more$") as caught:
        check_adapter(read_header(write_adapter(tmp_path / "a.gguf", tensors)), read_header(tiny_llama))
    assert len(caught.value.message) < 4000


@pytest.mark.parametrize(
    ("name", "exit_code", "message"),
    [
        ("none.gguf", 2, "none.gguf: No such file or directory"),
        ("folder", 2, "folder is a folder, not an adapter"),
        ("peft", 2, "genrec-edge convert --base BASE --adapter"),
        ("peft/adapter_model.safetensors", 2, "is a PEFT adapter, not one in GGUF format"),
        ("x" * 300, 2, "File name too long"),
        ("text.gguf", 5, "not a GGUF file"),
        ("half.gguf", 5, "the file is cut short"),
        ("head.gguf", 5, "the file claims 2 tensors, more than it can hold"),
        ("model.gguf", 5, "general.type is missing, not 'adapter'"),
    ],
)
def test_what_is_no_adapter_at_all_is_one_line(
    tmp_path: Path, tiny_llama: Path, tricky_path: Path, name: str, exit_code: int, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "adapter_config.json").write_text("{}")
    (tmp_path / "peft" / "adapter_model.safetensors").write_bytes(bytes(8))
    (tmp_path / "text.gguf").write_text("this is no adapter\n")
    whole = write_adapter(tmp_path / "whole.gguf", GOOD).read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[:-600])
    (tmp_path / "head.gguf").write_bytes(whole[:60])
    shutil.copy(tiny_llama, tmp_path / "model.gguf")
    assert_one_line(recommend(tiny_llama, tricky_path, tmp_path / name), exit_code, message)


def test_a_gguf_beside_an_adapter_of_peft_is_taken(tmp_path: Path, tiny_llama: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    path = write_adapter(tmp_path / "a.gguf", GOOD)
    assert find_adapter(str(path), read_header(tiny_llama)).path == path
    with pytest.raises(UsageError, match="is a PEFT adapter"):
        find_adapter(tmp_path, read_header(tiny_llama))


def test_weights_that_are_no_numbers_are_an_error(tmp_path: Path, tiny_llama: Path, tricky_path: Path) -> None:
    tensors = {name: tensor * np.float32("nan") for name, tensor in GOOD.items()}
    adapter = write_adapter(tmp_path / "a.gguf", tensors)
    assert_one_line(recommend(tiny_llama, tricky_path, adapter), EngineError.exit_code, "not numbers")


def test_an_adapter_for_other_prompts_is_refused(tmp_path: Path, tiny_llama: Path, tricky_path: Path) -> None:
    for version, exit_code in (("titles-1", 0), ("titles-0", 5)):
        adapter = write_adapter(tmp_path / "a.gguf", GOOD, keys={"genrec_edge.prompt_version": version})
        result = recommend(tiny_llama, tricky_path, adapter, "-k", "1", "--quiet")
        assert result.exit_code == exit_code
    known = "'titles-1', 'forms-1', 'genrec-1'"
    assert_one_line(result, 5, f"{adapter} was made for prompts 'titles-0', and known here are {known}")


def test_a_model_file_for_other_prompts_is_refused(
    tmp_path: Path, tricky_path: Path, tiny_gguf: Callable[..., Path]
) -> None:
    path = tiny_gguf(tmp_path / "m.gguf", keys={"genrec_edge.prompt_version": "titles-0"})
    with pytest.raises(ModelInvalidError, match=r"m\.gguf was made for prompts 'titles-0'"):
        Recommender.open(path, tricky_path)


def test_llama_cpp_refusing_an_adapter_is_an_error(tmp_path: Path, tiny_llama: Path) -> None:
    """Only a file that changes after its check gets there."""
    adapter = write_adapter(tmp_path / "a.gguf", pair("blk.9.attn_q.weight", WIDTH, WIDTH))
    with pytest.raises(ModelInvalidError, match=r"cannot load the adapter .*a\.gguf \(.*does not exist in base model"):
        Model(tiny_llama, adapter_path=adapter)


@pytest.mark.parametrize("command", ["recommend", "bench"])
def test_json_says_which_adapter_was_used(tmp_path: Path, tiny_llama: Path, tricky_path: Path, command: str) -> None:
    adapter = write_adapter(tmp_path / "a.gguf", GOOD)
    few = {"recommend": ["-k", "1"], "bench": ["-n", "2", "-k", "1", "--history-length", "1"]}[command]
    arguments = [command, "--model", tiny_llama, "--catalog", tricky_path, "--adapter", adapter, "--threads", 1, *few]
    result = CliRunner().invoke(cli.app, [*(str(argument) for argument in arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"]["adapter"] == str(adapter)


SURVIVORS = """
import random, sys
from pathlib import Path
from genrec_edge.engine.llama_engine import LlamaEngine
from genrec_edge.errors import GenRecError
from genrec_edge.gguf.header import read_header
from genrec_edge.engine.bindings import Model
from genrec_edge.gguf.adapter import find_adapter

base, adapter, n = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
model, whole = read_header(base), adapter.read_bytes()
end = read_header(adapter).data_offset
rng, passed = random.Random(20261122), 0
for _ in range(n):
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2])):
        data[rng.randrange(24, end)] = rng.choice([0, 1, 2, 8, 30, 32, 255, rng.randrange(256)])
    adapter.write_bytes(data)
    try:
        find_adapter(adapter, model)
    except GenRecError:
        continue
    engine = LlamaEngine(Model(base, adapter_path=adapter), n_ctx=256, n_threads=1)
    engine.prompt([1, 2, 3])
    engine.close()
    passed += 1
print(passed)
"""


@pytest.mark.slow
def test_what_passes_the_check_ends_no_process(tmp_path: Path, tiny_llama: Path) -> None:
    """2,000 mutated adapters: each is refused by the check, or llama.cpp loads it and evaluates with it."""
    adapter = write_adapter(tmp_path / "a.gguf", {**GOOD, **pair("blk.1.ffn_up.weight", HIDDEN, WIDTH)})
    arguments = [sys.executable, "-c", SURVIVORS, str(tiny_llama), str(adapter), "2000"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 50 < int(done.stdout) < 1950
