"""Layers left out, against transformers; what a plan says of files, disk and steps, against what a run then does."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.convert.checkpoint.config_hf import read_config
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.checkpoint.layers import format_layers, keep_layers, parse_layers, recorded_layers
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.lora.merge import merge_adapters
from genrec_edge.convert.lora.peft_reader import Adapter, Delta
from genrec_edge.convert.pipeline import run
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.convert.pipeline.plan import ConversionJob, check_quants, make_plan, merge_notes, store_names
from genrec_edge.convert.quantization.quantize import NEEDS_IMATRIX, quantize_file
from genrec_edge.convert.quantization.sizes import estimate_bytes
from genrec_edge.convert.tokenizer.types import UNUSED, padding_token
from genrec_edge.engine.bindings import FILE_TYPES, Model
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.errors import DiskFullError, UsageError
from genrec_edge.gguf.header import read_header
from genrec_edge.storage.files import atomic_write
from genrec_edge.storage.folders import partial_path

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.config import ModelConfig

pytestmark = pytest.mark.slow


@given(st.sets(st.integers(0, 300), min_size=1))
def test_layers_are_read_as_they_are_shown(chosen: set[int]) -> None:
    layers = tuple(sorted(chosen))
    assert parse_layers(format_layers(layers)) == layers
    assert parse_layers(",".join(map(str, layers))) == layers


@pytest.mark.parametrize(
    ("text", "layers"), [("0", (0,)), ("0-2", (0, 1, 2)), ("1-1,3", (1, 3)), (" 0 , 2-3 ", (0, 2, 3))]
)
def test_layers_that_are_named_well(text: str, layers: tuple[int, ...]) -> None:
    assert parse_layers(text) == layers


@pytest.mark.parametrize(
    "text", ["", ",", "a", "-1", "3-1", "1,1", "2,1", "0-3,3", "0-", "1.5", "0--2", "99999", "0,,1", "0;1"]
)
def test_layers_that_are_not_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="`layers`") as caught:
        parse_layers(text)
    assert "0-7,28,29" in caught.value.hint


def random_checkpoint(base: Checkpoint, config: ModelConfig) -> Checkpoint:
    """Return random weights of a config, with the tokenizer of `base` filled up to its vocabulary."""
    rng = np.random.default_rng(0)

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        values = rng.normal(0, 0.1, shape).astype(np.float32)
        return Tensor(name, shape, "F32", lambda rows: values[rows].copy())

    tokenizer = base.tokenizer
    more = range(len(tokenizer.tokens), config.vocab_size)
    tokenizer = replace(
        tokenizer,
        tokens=(*tokenizer.tokens, *map(padding_token, more)),
        types=(*tokenizer.types, *[UNUSED] * len(more)),
    )
    tensors = {name: tensor(name, shape) for name, shape in expected_shapes(config).items()}
    return replace(base, config=config, tokenizer=tokenizer, tensors=tensors)


def write(checkpoint: Checkpoint, path: Path) -> Path:
    with path.open("wb") as file:
        write_gguf(checkpoint, file, {})
    return path


def test_a_shallower_model_is_transformers_without_the_layers(tiny_llama: Path, tmp_path: Path) -> None:
    base = read_gguf(tiny_llama)
    torch.manual_seed(0)
    theirs: Any = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=base.config.vocab_size,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            architectures=["LlamaForCausalLM"],
        )
    )
    theirs.eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.1)
    theirs.config.save_pretrained(tmp_path)
    weights = {name: p.numpy() for name, p in theirs.state_dict().items()}

    def tensor(name: str) -> Tensor:
        return Tensor(name, weights[name].shape, "F32", lambda rows: weights[name][rows].copy())

    config = read_config(tmp_path)
    whole = replace(base, config=config, tensors={name: tensor(name) for name in expected_shapes(config)})
    kept = keep_layers(whole, (0, 2, 3))
    assert kept.config == replace(config, layers=(0, 2, 3))
    assert kept.config.n_original_layers == 5
    assert {name: tensor.shape for name, tensor in kept.tensors.items()} == expected_shapes(kept.config)
    assert all(tensor.name == name for name, tensor in kept.tensors.items())

    whole_model = copy.deepcopy(theirs)
    theirs.model.layers = torch.nn.ModuleList(theirs.model.layers[i] for i in (0, 2, 3))
    for i, layer in enumerate(theirs.model.layers):
        layer.self_attn.layer_idx = i
    token_ids = list(range(5, 60))
    with torch.no_grad():
        expected = theirs(torch.tensor([token_ids]), use_cache=False).logits[0].numpy()
    forward = FullLogitsModel(Model(write(kept, tmp_path / "kept.gguf")), n_ctx=64, n_threads=1, f32_cache=True)
    found = forward.logits(token_ids)
    forward.close()
    assert np.abs(found - expected).max() < 1e-2 * np.ptp(expected)
    with torch.no_grad():
        all_layers = whole_model(torch.tensor([token_ids]), use_cache=False).logits[0].numpy()
    assert np.abs(all_layers - expected).max() > 1e-1 * np.ptp(expected)  # else every layer would do

    again = keep_layers(kept, (1, 2))  # of those that are left
    assert again.config.layers == (2, 3)
    assert np.array_equal(
        again.tensors["model.layers.1.mlp.up_proj.weight"].read_all(), weights["model.layers.3.mlp.up_proj.weight"]
    )
    with pytest.raises(UsageError, match=r"includes layer 3, and .* has layers 0 to 2"):
        keep_layers(kept, (0, 3))


SMOLLM2 = {"hidden_size": 576, "ffn_size": 1536, "n_heads": 9, "n_kv_heads": 3, "head_size": 64, "vocab_size": 3300}
# name: what the config has; rows of 576 and 896 are no multiple of 256, and the quantizer falls back.
WIDTHS: dict[str, dict[str, Any]] = {
    "SmolLM2's rows": SMOLLM2,
    "multiples of 256": {"hidden_size": 256, "ffn_size": 768, "n_heads": 4, "n_kv_heads": 2, "head_size": 64},
    "an output of its own": {**SMOLLM2, "hidden_size": 512, "n_heads": 8, "n_kv_heads": 1, "tied": False},
    "no multiples of 32": {"hidden_size": 144, "ffn_size": 400, "n_heads": 4, "n_kv_heads": 4, "head_size": 36},
}
# A file type named after one of 256-blocks with tables takes seconds for each model: one of them sees those.
CASES = [
    (width, quant)
    for width in WIDTHS
    for quant in FILE_TYPES
    if width == "multiples of 256" or not quant.startswith("IQ") or quant == "IQ4_NL"
]


@pytest.fixture(scope="module")
def sources(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Checkpoint, Path]]:
    """Returns a checkpoint of two layers for each of WIDTHS, and its F16 file."""
    folder = tmp_path_factory.mktemp("wide")
    base = read_gguf(tiny_llama)
    made = {}
    for i, (width, changes) in enumerate(WIDTHS.items()):
        checkpoint = random_checkpoint(base, replace(base.config, **changes))
        made[width] = checkpoint, write(checkpoint, folder / f"{i}.gguf")
    return made


@pytest.mark.parametrize(("width", "quant"), CASES)
def test_no_file_is_larger_than_planned_nor_much_smaller(
    width: str, quant: str, sources: dict[str, tuple[Checkpoint, Path]], tmp_path: Path
) -> None:
    checkpoint, source = sources[width]
    header = read_header(source)
    imatrix = {t.name: np.ones(t.shape[0], np.float32) for t in header.tensors if len(t.shape) > 1}
    weights = imatrix if quant in NEEDS_IMATRIX else None
    quantize_file(source, tmp_path / "quant.gguf", quant, imatrix=weights, n_threads=1)
    metadata_bytes = estimate_bytes(replace(checkpoint, tensors={}), quant)
    assert header.data_offset <= metadata_bytes == 8 << 20
    real = sum(tensor.n_bytes for tensor in read_header(tmp_path / "quant.gguf").tensors)
    planned = estimate_bytes(checkpoint, quant) - metadata_bytes
    assert real <= planned <= 1.2 * real


def job_of(base: Path, tmp_path: Path, **changes: Any) -> ConversionJob:
    options = {"quants": ("Q8_0", "Q4_0"), "catalog": None, "verify": "none", "n_threads": 1, **changes}
    return ConversionJob(base=base, out=tmp_path / "out", name="small", licence="MIT", **options)


def test_a_plan_lists_what_will_be_done(tiny_llama: Path, tmp_path: Path) -> None:
    job = job_of(tiny_llama, tmp_path, imatrix=tmp_path / "c.db", verify="quick", layers=(0,), keep_checkpoint=True)
    checkpoint = keep_layers(read_gguf(tiny_llama), (0,))
    plan = make_plan(job, checkpoint, (), copies=True, notes=("a note",))
    assert [(step.what, step.target) for step in plan.steps] == [
        ("write", f"small-18K-v1.0-F16.gguf from {tiny_llama}"),
        ("write", "checkpoint/ for transformers"),
        ("importance", f"of weights for the prompts of {tmp_path / 'c.db'}"),
        ("quantize", "small-18K-v1.0-Q8_0.gguf"),
        ("quantize", "small-18K-v1.0-Q4_0.gguf"),
        ("verify", "tokenizer, logits, recommendations"),
        ("remove", "small-18K-v1.0-F16.gguf"),
        ("install", "small, small-q4_0"),
    ]
    assert plan.files == {quant: f"small-18K-v1.0-{quant}.gguf" for quant in ("F16", "Q8_0", "Q4_0")}
    assert plan.peak_disk_bytes == sum(step.n_bytes for step in plan.steps if step.n_bytes > 0)
    assert len(plan.notes) == 1
    kept = replace(job, quants=("F16",), imatrix=None, verify="none", keep_checkpoint=False)
    plan = make_plan(kept, checkpoint, (), copies=False)
    assert [step.what for step in plan.steps] == ["write", "install"]
    assert plan.notes == ()
    assert store_names(job) == {"Q8_0": "small", "Q4_0": "small-q4_0"}


@pytest.mark.parametrize(
    ("quants", "found"),
    [
        ((), "at least one"),
        (("Q4_0", "Q4", "X"), "unknown file types: 'Q4', 'X'"),
        (("Q4_0", "Q8_0", "Q4_0"), "Q4_0 more than once"),
    ],
)
def test_file_types_that_do_not_exist_are_all_named(quants: tuple[str, ...], found: str) -> None:
    with pytest.raises(UsageError, match=found):
        check_quants(quants)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"keep_f16": True, "keep_checkpoint": True},
        {"quants": ("F32", "Q4_K_M", "F16")},
        {"verify": "quick"},
        {"verify": "quick", "base": "folder"},
        {"verify": "quick", "base": "folder", "layers": (1,)},
    ],
)
def test_a_run_takes_no_more_room_than_planned(
    changes: dict[str, Any],
    sources: dict[str, tuple[Checkpoint, Path]],
    tricky_path: Path,
    tmp_path: Path,
    own_home: Path,
) -> None:
    checkpoint, base = sources["SmolLM2's rows"]
    changes = dict(changes)
    if changes.pop("base", ""):
        base = tmp_path / "base"
        write_folder(checkpoint, base, "F16")
    prepared = run.prepare(job_of(base, tmp_path, **{"catalog": tricky_path, **changes}))
    partial = partial_path(prepared.job.out)
    sizes = []

    def measure(_what: str, _done: int, _total: int) -> None:
        sizes.append(sum(path.stat().st_size for path in partial.rglob("*") if path.is_file()))

    run.convert(prepared, on_event=measure)
    # Every file is planned with 8 MiB for metadata, one of F32 as two of F16, which would hide the weights of these.
    written = [step for step in prepared.plan.steps if step.n_bytes > 0]
    copied = any(step.target.startswith("checkpoint/") for step in written) and not prepared.job.keep_checkpoint
    planned = prepared.plan.peak_disk_bytes - (len(written) + copied) * (8 << 20)
    assert max(sizes) - (1 << 20) <= planned <= 1.1 * max(sizes)


def test_too_little_room_is_said_before_anything_is_written(
    sources: dict[str, tuple[Checkpoint, Path]], tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = run.prepare(job_of(sources["multiples of 256"][1], tmp_path))
    needed = prepared.plan.peak_disk_bytes
    events: list[str] = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=needed))
    with pytest.raises(DiskFullError, match="no room"):
        run.convert(prepared, on_event=lambda what, *_: events.append(what))
    assert events == []
    assert [path.name for path in partial_path(prepared.job.out).iterdir()] == ["job.json"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=needed * 2))
    assert run.convert(prepared, resume=True).out.is_dir()


def test_which_layers_are_kept_is_said_through_every_form(tiny_llama: Path, tmp_path: Path) -> None:
    """A shallow model keeps saying so as a folder, as a GGUF, and shortened again."""
    four = write_layers(tiny_llama, tmp_path / "hf")
    shallow = keep_layers(four, (1,))
    write_folder(shallow, tmp_path / "shallow", "F16")
    again = read_folder(tmp_path / "shallow")
    assert (again.config.layers, again.config.n_original_layers) == ((1,), 2)
    with atomic_write(tmp_path / "shallow.gguf") as file:
        write_gguf(again, file, model_metadata(again, [], "shallow", "MIT"))
    config = read_gguf(tmp_path / "shallow.gguf").config
    assert (config.layers, config.n_original_layers) == ((1,), 2)


def write_layers(path: Path, folder: Path) -> Checkpoint:
    write_folder(read_gguf(path), folder, "F16")
    return read_folder(folder)


@pytest.mark.parametrize(("text", "of"), [("0-1", 2), ("5", 3), ("2", 2), (7, 9), ("x", 9), ("2", "9"), (None, None)])
def test_claims_of_layers_that_do_not_fit_are_not_believed(text: object, of: object) -> None:
    assert recorded_layers(text, of, 1) == ((0,), 1)


def test_claims_of_layers_that_fit() -> None:
    assert recorded_layers("0-2,7", 9, 4) == ((0, 1, 2, 7), 9)


@pytest.mark.parametrize("type_of_base", ["Q8_0", "F16"])
def test_rounding_to_the_grid_of_the_base_undoes_small_changes(
    type_of_base: str, tiny_llama: Path, tmp_path: Path
) -> None:
    """What the note of a plan says, measured: how much of a change smaller than Q8_0's steps is left on average."""
    quantize_file(tiny_llama, tmp_path / "base.gguf", type_of_base)
    base, name = read_gguf(tmp_path / "base.gguf"), "model.layers.0.mlp.up_proj.weight"
    rng, (rows, columns) = np.random.default_rng(0), base.tensors[name].shape
    a, b = (rng.normal(0, 0.02, shape).astype(np.float32) for shape in ((4, columns), (rows, 4)))
    adapter = Adapter(tmp_path, "", 1.0, 4, 4.0, {name: Delta(a, b, 1.0)}, {}, {})
    with atomic_write(tmp_path / "f16.gguf") as file:
        write_gguf(merge_adapters(base, [adapter]), file, {})
    quantize_file(tmp_path / "f16.gguf", tmp_path / "merged.gguf", "Q8_0")
    quantize_file(tmp_path / "base.gguf", tmp_path / "plain.gguf", "Q8_0")
    before, after = (read_gguf(tmp_path / f).tensors[name].read_all() for f in ("plain.gguf", "merged.gguf"))
    change = b @ a
    left = float(((after - before) * change).sum() / (change * change).sum())
    notes = merge_notes(base, merge_adapters(base, [adapter]), ("Q4_0", "Q8_0"))
    if type_of_base == "Q8_0":
        assert abs(left) < 0.3
        assert [note for note in notes if "are Q8_0 already: rounded to Q8_0 again" in note] == list(notes) != []
    else:
        assert abs(left - 1) < 0.3
        assert notes == ()
