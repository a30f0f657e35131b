"""`genrec-edge convert`: from a base and adapters to models in the store, and one line for all that cannot be."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from genrec_edge import __version__, cli
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.convert.pipeline.run import convert, prepare
from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.gguf.header import read_header
from genrec_edge.storage.folders import partial_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typer.testing import Result as Ran

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")]

HISTORY = ("-H", "Alien", "-H", "Jaws")
# Source: docs/gguf.md of ggml, "Validating Above Naming Convention", without sidecar and shard.
GGUF_NAME = re.compile(
    r"^(?P<BaseName>[A-Za-z0-9\s]*(?:(?:-(?:(?:[A-Za-z\s][A-Za-z0-9\s]*)|(?:[0-9\s]*)))*))-"
    r"(?:(?P<SizeLabel>(?:\d+x)?(?:\d+\.)?\d+[A-Za-z](?:-[A-Za-z]+(\d+\.)?\d+[A-Za-z]+)?)"
    r"(?:-(?P<FineTune>[A-Za-z0-9\s-]+))?)?-(?:(?P<Version>v\d+(?:\.\d+)*))"
    r"(?:-(?P<Encoding>(?!LoRA|vocab)[\w_]+))?(?:-(?P<Type>LoRA|vocab))?\.gguf$"
)
Options = dict[str, Any]


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Return options as a command line: True is a flag, None an absent one, and a list the same one again and again."""
    words = []
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name}"] if each is True else [] if each is None else [f"--{name}", str(each)]
    return words


def run(command: str, options: Mapping[str, Any], *more: str) -> Ran:
    """Run a command in this process; nothing but our own exits may happen."""
    result = CliRunner().invoke(cli.app, [command, *arguments(options), *more])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def run_json(command: str, options: Mapping[str, Any], *more: str) -> dict[str, Any]:
    result = run(command, options, *more, "--json")
    assert result.exit_code == 0, result.stdout + result.stderr
    assert result.stdout.count("\n") == 1
    return cast("dict[str, Any]", json.loads(result.stdout))


def recommend(model: Path | str, catalog: Path, **more: Any) -> dict[str, Any]:
    return run_json("recommend", {"model": model, "catalog": catalog, "threads": 1, "prior": "none", **more}, *HISTORY)


def tree(root: Path) -> dict[str, str]:
    """Return what is below a folder, with the digest of each file."""
    return {
        path.relative_to(root).as_posix(): digest(path) if path.is_file() else "folder"
        for path in sorted(root.rglob("*"))
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """Returns a folder with bases and adapters, of which nothing is ever changed."""
    root = tmp_path_factory.mktemp("inputs")
    save_hf(root / "hf", tiny_llama)
    save_lora(root / "lora", root / "hf", seed=1, target_modules=["q_proj", "v_proj", "down_proj"])
    save_lora(root / "other", root / "hf", seed=2, target_modules=["q_proj", "o_proj"], r=2, use_rslora=True)
    with (root / "base.gguf").open("wb") as file:
        write_gguf(read_folder(root / "hf"), file, {"general.name": "random"})
    return root


def save_hf(folder: Path, vocabulary: Path) -> None:
    """Save a random LLaMA in the shape of `tiny_llama`, with its vocabulary, whose logits rounding hardly changes."""
    tokenizer = read_gguf_tokenizer(read_header(vocabulary))
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer.tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model: Any = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.2)
    model.half().save_pretrained(folder)
    write_hf_tokenizer(tokenizer, folder)


def save_lora(folder: Path, base: Path, *, seed: int, **settings: Any) -> None:
    """Save a LoRA of PEFT with random A and B, large enough to change every answer."""
    torch.manual_seed(seed)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = peft.get_peft_model(
        model, peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **settings})
    )
    with torch.no_grad():
        for name, parameter in lora.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2)
    lora.save_pretrained(str(folder))


@pytest.fixture
def usual(inputs: Path, tricky_path: Path, own_home: Path) -> Options:
    """The command with a GGUF, and nothing that takes long."""
    return {
        "base": inputs / "base.gguf",
        "out": own_home.parent / "out",
        "name": "Tiny",
        "license": "MIT",
        "quant": "Q8_0",
        "verify": "none",
        "catalog": tricky_path,
        "threads": 1,
    }


@dataclass(frozen=True, slots=True)
class Made:
    """A conversion that was done, with everything that can be asked for: options, folder, home and JSON."""

    options: Options
    out: Path
    home: Path
    document: dict[str, Any]

    def path(self, quant: str) -> Path:
        return next(self.out.glob(f"*-{quant}.gguf"))


@pytest.fixture(scope="module")
def made(inputs: Path, tricky_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("made")
    (root / "split.jsonl").write_text('{"history": ["Alien", "Jaws"], "target": "003"}\n')
    options: Options = {
        "base": inputs / "hf",
        "adapter": inputs / "lora",
        "out": root / "out",
        "name": "Tiny-Films",
        "license": "CC-BY-4.0",
        "quant": "Q8_0, q4_0",
        "catalog": tricky_path,
        "test": root / "split.jsonl",
        "verify": "quick",
        "threads": 1,
        "keep-f16": True,
        "keep-checkpoint": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("GENREC_EDGE_")]:
            patch.delenv(variable)
        patch.setenv("GENREC_EDGE_HOME", str(root / "home"))
        document = run_json("convert", options)
    return Made(options, root / "out", root / "home", document)


def test_the_json_object_is_the_documented_one(made: Made) -> None:
    document = made.document
    assert document.keys() == {"schema", "out", "models", "manifest", "verification"}
    assert document["schema"] == "genrec-edge/convert@1"
    assert (document["out"], document["models"]) == (str(made.out), ["Tiny-Films", "Tiny-Films-q4_0"])
    assert document["manifest"] == json.loads((made.out / "manifest.json").read_text())
    report = json.loads((made.out / "report.json").read_text())
    assert report == {
        "schema": "genrec-edge/conversion-report@1",
        "conversion": document["manifest"],
        "verification": document["verification"],
    }


def test_the_manifest_says_what_was_made_of_what(made: Made, inputs: Path) -> None:
    manifest = made.document["manifest"]
    base_files = ("config.json", "tokenizer.json", "model.safetensors")
    assert manifest["base"] == {name: digest(inputs / "hf" / name) for name in base_files}
    sha256 = digest(inputs / "lora" / "adapter_model.safetensors")
    assert manifest["adapters"] == [{"name": "lora", "sha256": sha256, "weight": 1.0}]
    assert (manifest["name"], manifest["license"], manifest["layers"]) == ("Tiny-Films", "CC-BY-4.0", "0-1")
    assert [entry["file_type"] for entry in manifest["files"]] == ["F16", "Q8_0", "Q4_0"]
    for entry in manifest["files"]:
        path = made.path(entry["file_type"])
        assert (entry["file"], entry["sha256"]) == (path.name, digest(path))
        assert (entry["size_bytes"], entry["file_type"]) == (path.stat().st_size, read_header(path).quant)


def test_the_folder_holds_what_was_asked_for(made: Made) -> None:
    names = {path.name for path in made.out.iterdir()}
    files = {entry["file"] for entry in made.document["manifest"]["files"]}
    assert names == {*files, "manifest.json", "README.md", "report.json", "report.png", "checkpoint"}
    for name in files:
        match = GGUF_NAME.fullmatch(name)
        assert match is not None
        assert (match["BaseName"], match["Version"], match["Type"]) == ("Tiny-Films", "v1.0", None)
        assert match["Encoding"] in {"F16", "Q8_0", "Q4_0"}
    assert [path.name for path in made.out.parent.iterdir() if path.name.startswith(".")] == []


def test_the_verification_compared_everything(made: Made) -> None:
    found = made.document["verification"]
    assert (found["problems"], found["tokenizer"]["status"], found["checkpoint"]["status"]) == ([], "passed", "passed")
    assert found["checkpoint"]["agreement"]["n_positions"] >= 256
    assert [figures["file_type"] for figures in found["files"]] == ["F16", "Q8_0", "Q4_0"]
    f16, q8, q4 = found["files"]
    assert f16["agreement"] is None
    assert 0 < q8["agreement"]["mean_kl"] < q4["agreement"]["mean_kl"]
    assert all(figures["hits"]["n"] == 1 for figures in found["files"])


def test_the_card_claims_what_the_manifest_says(made: Made) -> None:
    card = (made.out / "README.md").read_text()
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    assert "with the LoRA adapter lora merged into it" in card
    for entry in made.document["manifest"]["files"]:
        assert f"`{entry['sha256']}`" in card


def test_the_checkpoint_is_what_peft_merges(made: Made, inputs: Path) -> None:
    base, unmerged, found = (
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for folder in (inputs / "hf", inputs / "hf", made.out / "checkpoint")
    )
    expected = cast("Any", peft.PeftModel.from_pretrained(unmerged, inputs / "lora")).merge_and_unload()
    tokenizer = transformers.AutoTokenizer.from_pretrained(made.out / "checkpoint")
    ids = torch.tensor([tokenizer("The Thing (1982)\nAlien")["input_ids"]])
    with torch.no_grad():
        difference = (found(ids).logits - expected(ids).logits).abs().max()
        changed = (found(ids).logits - base(ids).logits).abs().max()
    assert difference < 0.02  # of half floats
    assert changed > 0.5


def test_the_metadata_says_where_it_comes_from(made: Made, inputs: Path) -> None:
    document = run_json("inspect", {}, str(made.path("Q4_0")))
    assert document["general"] == {
        "name": "Tiny-Films",
        "basename": "Tiny-Films",
        "version": "v1.0",
        "size_label": "27K",
        "license": "CC-BY-4.0",
        "quantized_by": f"genrec-edge {__version__}",
    }
    assert document["base_models"] == ["hf"]
    provenance = document["provenance"]
    assert (provenance["prompt_version"], provenance["schema_version"]) == ("titles-1", 1)
    assert provenance["adapter_count"] == 1
    assert provenance["adapter.0.sha256"] == digest(inputs / "lora" / "adapter_model.safetensors")
    assert (provenance["adapter.0.name"], provenance["adapter.0.weight"]) == ("lora", 1.0)
    assert "layers" not in provenance


def test_the_models_are_in_the_store_and_recommend(
    made: Made, tricky_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENREC_EDGE_HOME", str(made.home))
    for name, quant in (("Tiny-Films", "Q8_0"), ("Tiny-Films-q4_0", "Q4_0")):
        document = recommend(name, tricky_path)
        assert len(document["items"]) == 10
        assert (document["model"]["name"], document["model"]["quant"]) == (name, quant)
        assert run_json("models", {}, "verify", name)["models"]


def test_a_second_time_there_is_nothing_to_overwrite(
    made: Made, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENREC_EDGE_HOME", str(made.home))
    before = tree(made.out.parent)
    taken = run("convert", made.options)
    assert (taken.exit_code, taken.stdout) == (2, "")
    assert "'Tiny-Films' is in" in taken.stderr
    exists = run("convert", {**made.options, "name": "Another"})
    assert (exists.exit_code, exists.stdout) == (2, "")
    assert f"{made.out} exists" in exists.stderr
    assert tree(made.out.parent) == before


def test_resuming_what_is_done_only_installs(made: Made, own_home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.out.rglob("*")}
    document = run_json("convert", made.options, "--resume")
    assert (document["models"], document["verification"]) == (["Tiny-Films", "Tiny-Films-q4_0"], None)
    assert document["manifest"] == made.document["manifest"]
    assert {path: path.stat().st_mtime_ns for path in made.out.rglob("*")} == before
    assert (own_home / "models" / "Tiny-Films" / made.path("Q8_0").name).samefile(made.path("Q8_0"))
    changed = run("convert", {**made.options, "license": "MIT"}, "--resume")
    assert (changed.exit_code, changed.stdout) == (2, "")
    assert "was made by another job" in changed.stderr


def test_a_person_gets_a_table_and_the_paths(usual: Options, own_home: Path) -> None:
    result = run("convert", {**usual, "quant": "Q8_0,Q4_0", "verify": "quick", "name": None})
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[1].split()[:3] == ["type", "size", "bits"]
    assert [line.split()[0] for line in lines[3:6]] == ["F16", "Q8_0", "Q4_0"]
    paths = [Path(line) for line in lines if line.endswith(".gguf")]
    assert sorted(paths) == sorted(usual["out"].glob("*.gguf"))
    assert "in the store as out, out-q4_0: genrec-edge recommend --model out" in result.stderr
    assert "Q4_0: 1 tensor Q8_0 instead of Q6_K: row length 32 is not a multiple of 256" in result.stderr


def test_quiet_leaves_stderr_empty(usual: Options) -> None:
    assert run("convert", usual, "--dry-run", "--quiet").stderr == ""
    result = run("convert", {**usual, "verify": "quick"}, "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")


def test_without_verification_no_torch_is_loaded(usual: Options, inputs: Path) -> None:
    script = (
        "import sys; from genrec_edge.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print({'torch', 'transformers', 'peft', 'safetensors', 'tokenizers'} & set(sys.modules))"
    )
    words = ["convert", *arguments({**usual, "base": inputs / "hf", "adapter": inputs / "lora"}), "--json"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["set()"]


def checkpoint_of(options: Options, *more: str) -> dict[str, np.ndarray]:
    run_json("convert", {**options, "keep-checkpoint": True}, *more)
    return {
        name: values.astype(np.float32)
        for name, values in load_file(options["out"] / "checkpoint" / "model.safetensors").items()
    }


def delta(folder: Path, module: str, scale: float) -> np.ndarray:
    """Return what an adapter adds to a weight, by hand."""
    stored = load_file(folder / "adapter_model.safetensors")
    key = f"base_model.model.{module}"
    added: np.ndarray = scale * stored[f"{key}.lora_B.weight"] @ stored[f"{key}.lora_A.weight"]
    return added


def test_two_adapters_add_up_by_their_weights(usual: Options, inputs: Path) -> None:
    lora, other = inputs / "lora", inputs / "other"
    merged = checkpoint_of({**usual, "base": inputs / "hf", "adapter": [f"{lora}=0.5", f"{other}=-2"]})
    before = load_file(inputs / "hf" / "model.safetensors")
    query = "model.layers.1.self_attn.q_proj"
    scales = {lora: 0.5 * 8 / 4, other: -2 * 8 / np.sqrt(2)}
    expected = before[f"{query}.weight"] + sum(delta(folder, query, scale) for folder, scale in scales.items())
    assert np.allclose(merged[f"{query}.weight"], expected, rtol=1e-3, atol=1e-3)
    down = "model.layers.0.mlp.down_proj"
    expected = before[f"{down}.weight"] + delta(lora, down, scales[lora])
    assert np.allclose(merged[f"{down}.weight"], expected, rtol=1e-3, atol=1e-3)
    untouched = "model.layers.0.mlp.up_proj.weight"
    assert np.array_equal(merged[untouched], before[untouched])


def test_a_folder_whose_name_looks_like_a_weight_is_a_folder(usual: Options, inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(inputs / "lora", tmp_path / "lora=2")
    manifest = run_json("convert", {**usual, "adapter": tmp_path / "lora=2"})["manifest"]
    assert [(adapter["name"], adapter["weight"]) for adapter in manifest["adapters"]] == [("lora=2", 1.0)]


@pytest.mark.parametrize("base", ["hf", "base.gguf"])
@pytest.mark.parametrize(("kept", "layers"), [("1", [1]), ("0-1", [0, 1])])
def test_layers_are_kept_in_order(usual: Options, inputs: Path, base: str, kept: str, layers: list[int]) -> None:
    merged = checkpoint_of({**usual, "base": inputs / base, "keep-layers": kept})
    whole = checkpoint_of({**usual, "base": inputs / base, "out": usual["out"].with_name("whole"), "name": "Whole"})
    for new, old in enumerate(layers):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert np.array_equal(merged[name.format(new)], whole[name.format(old)])
    assert f"model.layers.{len(layers)}.mlp.up_proj.weight" not in merged
    document = run_json("inspect", {}, str(next(usual["out"].glob("*.gguf"))))
    assert document["model"]["layers"] == len(layers)
    if len(layers) == 1:
        assert (document["provenance"]["layers"], document["provenance"]["layers_of"]) == ("1", 2)
    else:
        assert "layers" not in document["provenance"]
    assert recommend("Tiny", usual["catalog"])["items"]


def test_an_importance_matrix_changes_what_is_written(usual: Options) -> None:
    run_json("convert", {**usual, "quant": "Q4_0"})
    weighed = {**usual, "out": usual["out"].with_name("weighed"), "name": "Weighed"}
    run_json("convert", {**weighed, "quant": "Q4_0", "imatrix": usual["catalog"]})
    (one,), (other,) = usual["out"].glob("*.gguf"), weighed["out"].glob("*.gguf")
    assert one.stat().st_size == pytest.approx(other.stat().st_size, abs=64)
    assert one.read_bytes()[-4096:] != other.read_bytes()[-4096:]  # tensors, not metadata


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_dry_run_writes_nothing_anywhere(usual: Options, inputs: Path, own_home: Path, more: tuple[str, ...]) -> None:
    own_home.mkdir()
    before = tree(own_home.parent), tree(inputs)
    asked = {**usual, "base": inputs / "hf", "adapter": inputs / "lora", "keep-checkpoint": True, "quant": "Q4_0,Q8_0"}
    # Neither a licence nor a catalog is needed to plan, and the one that comes along is not built.
    result = run("convert", {**asked, "license": None, "catalog": None, "verify": None}, "--dry-run", *more)
    assert result.exit_code == 0, result.stderr
    assert (tree(own_home.parent), tree(inputs)) == before
    if not more:
        assert [line.split()[0] for line in result.stdout.splitlines()[3:] if line[1:2].strip()] == [
            *("write", "write", "quantize", "quantize", "verify", "remove", "install")
        ]
        return
    document = json.loads(result.stdout)
    assert document.keys() == {"schema", "dry_run", "steps", "disk_bytes", "memory_bytes", "notes"}
    assert document["dry_run"] is True
    assert document["disk_bytes"] == sum(step["bytes"] for step in document["steps"] if step["bytes"] > 0)


def test_a_model_of_the_store_can_be_the_base(usual: Options) -> None:
    run_json("convert", usual)
    again = {**usual, "base": "Tiny", "out": usual["out"].with_name("again"), "name": "Again"}
    (step, *_) = run_json("convert", again, "--dry-run")["steps"]
    assert "/models/Tiny/" in step["target"]
    unknown = run("convert", {**again, "base": "Tinny"})
    assert unknown.exit_code == 2
    assert "a model of the store" in unknown.stderr


def test_a_verification_takes_its_memory_in_the_plan(usual: Options, inputs: Path) -> None:
    def planned(verify: str) -> int:
        return int(run_json("convert", {**usual, "base": inputs / "hf", "verify": verify}, "--dry-run")["memory_bytes"])

    assert planned("none") + (250 << 20) < planned("quick") == planned("full")


def test_the_plan_is_what_is_written(usual: Options) -> None:
    options = {**usual, "quant": "F16,Q8_0,Q4_0"}
    planned = run_json("convert", options, "--dry-run")
    run_json("convert", options)
    names = {step["target"].partition(" ")[0] for step in planned["steps"]}
    for path in usual["out"].glob("*.gguf"):
        assert path.name in names
    assert sum(path.stat().st_size for path in usual["out"].iterdir()) < planned["disk_bytes"]


def job_of(options: Options) -> ConversionJob:
    """Return what the command line makes of options."""
    return ConversionJob(
        base=options["base"],
        out=options["out"],
        name=options["name"],
        licence=options["license"],
        quants=tuple(options["quant"].split(",")),
        catalog=options["catalog"],
        keep_checkpoint=options.get("keep-checkpoint", False),
        imatrix=options.get("imatrix"),
        verify=options["verify"],
        n_threads=options["threads"],
    )


class Interrupted(Exception):  # noqa: N818 - nothing failed
    pass


STAGES = ["writing F16", "writing the checkpoint", "weighing", "quantizing Q4_0", "quantizing Q8_0", "hashing"]


@pytest.mark.parametrize("stage", STAGES)
def test_resuming_gives_the_same_bytes(usual: Options, stage: str) -> None:
    options = {**usual, "quant": "Q4_0,Q8_0", "keep-checkpoint": True, "imatrix": usual["catalog"]}

    def interrupt(found: str, _done: int, _total: int) -> None:
        if found == stage:
            raise Interrupted

    with pytest.raises(Interrupted):
        convert(prepare(job_of(options)), on_event=interrupt)
    assert not usual["out"].exists()
    run_json("convert", options, "--resume")
    expected = {**options, "out": usual["out"].with_name("expected")}
    convert(prepare(job_of(expected)))
    assert tree(usual["out"]) == tree(expected["out"])
    assert not list(usual["out"].parent.glob(".*"))


def test_resuming_other_options_is_refused(usual: Options, inputs: Path) -> None:
    with pytest.raises(Interrupted):
        convert(prepare(job_of(usual)), on_event=interrupt_quantizing)
    before = tree(usual["out"].with_name(".out.partial"))
    for key, value in {"quant": "Q4_0", "license": "Apache-2.0", "adapter": inputs / "lora", "keep-layers": 1}.items():
        result = run("convert", {**usual, key: value}, "--resume")
        assert (result.exit_code, result.stdout) == (2, "")
        differing = {"quant": "quants", "adapter": "adapters", "keep-layers": "layers"}.get(key, key)
        assert f"belongs to another job: {differing} differ" in result.stderr
        assert tree(usual["out"].with_name(".out.partial")) == before
    assert run("convert", {**usual, "license": "Apache-2.0"}).exit_code == 0  # anew
    assert not usual["out"].with_name(".out.partial").exists()


def interrupt_quantizing(stage: str, _done: int, _total: int) -> None:
    if stage.startswith("quantizing"):
        raise Interrupted


SLOW = """
import signal, sys, threading
from genrec_edge import __version__, cli
from genrec_edge.convert.pipeline import steps
signal.signal(signal.SIGINT, signal.default_int_handler)

def endless(*_arguments, **_options):
    sys.stderr.write("quantizing\\n")
    sys.stderr.flush()
    threading.Event().wait()

steps.quantize_file = endless
cli.main()
"""


def test_ctrl_c_is_one_word_and_can_be_resumed(usual: Options) -> None:
    words = ["convert", *arguments(usual)]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        try:
            assert running.stderr.readline() == "quantizing\n"
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert (running.returncode, out, err) == (130, "", "interrupted\n")
    assert not usual["out"].exists()
    assert run("convert", usual, "--resume").exit_code == 0


@pytest.mark.parametrize("base", ["hf", "base.gguf"])
def test_a_failed_verification_is_one_line_and_exit_14(usual: Options, inputs: Path, base: str) -> None:
    """The F16 file of an interrupted run is damaged: a row of the embedding in it is another one."""
    options = {**usual, "base": inputs / base, "verify": "quick"}
    with pytest.raises(Interrupted):
        convert(prepare(job_of(options)), on_event=interrupt_quantizing)
    (path,) = usual["out"].with_name(".out.partial").glob("*-F16.gguf")
    (embedding,) = (tensor for tensor in read_header(path).tensors if tensor.name == "token_embd.weight")
    content = bytearray(path.read_bytes())
    content[embedding.offset : embedding.offset + embedding.n_bytes // 2] = content[
        embedding.offset + embedding.n_bytes // 2 : embedding.offset + embedding.n_bytes
    ]
    path.write_bytes(content)
    for json_too in ((), ("--json",)):
        result = run("convert", options, "--resume", *json_too)
        assert result.exit_code == 14
        message = json.loads(result.stdout)["error"]["message"] if json_too else result.stderr
        assert result.stderr.count("\n") == (0 if json_too else 1)
        assert "-F16.gguf does not match the converted checkpoint" in message
    assert not usual["out"].exists()
    assert not (Path(os.environ["GENREC_EDGE_HOME"]) / "models").exists()
    assert run("convert", options).exit_code == 0  # anew


@pytest.mark.parametrize("weight", ["", "=0.5"])
def test_an_adapter_beside_the_base_answers_like_the_merged_model(usual: Options, inputs: Path, weight: str) -> None:
    base = {**usual, "base": inputs / "hf", "out": usual["out"].with_name("base"), "name": "Base", "quant": "F16"}
    merged = {**usual, "base": inputs / "hf", "adapter": f"{inputs / 'lora'}{weight}", "quant": "F16"}
    run_json("convert", base)
    run_json("convert", merged)
    alone = {**merged, "out": usual["out"].with_name("alone"), "as-adapter": True, "quant": None, "verify": None}
    document = run_json("convert", {**alone, "catalog": None})
    adapter_path = Path(document.pop("adapter"))
    assert document == {"schema": "genrec-edge/convert@1"}
    assert [adapter_path] == list(alone["out"].iterdir())
    match = GGUF_NAME.fullmatch(adapter_path.name)
    assert match is not None
    assert (match["BaseName"], match["Encoding"], match["Type"]) == ("Tiny", "F32", "LoRA")

    expected = recommend("Tiny", usual["catalog"])
    found = recommend("Base", usual["catalog"], adapter=adapter_path)
    without = recommend("Base", usual["catalog"])
    assert [item["id"] for item in found["items"]] == [item["id"] for item in expected["items"]]
    for ours, theirs, plain in zip(found["items"], expected["items"], without["items"], strict=True):
        assert ours["logprob"] == pytest.approx(theirs["logprob"], abs=1e-2)
        assert ours["logprob"] != pytest.approx(plain["logprob"], abs=1e-1)
    described = run_json("inspect", {}, str(adapter_path))
    assert (described["kind"], described["adapter"]["problems"]) == ("adapter", [])
    assert described["provenance"]["adapter.0.sha256"] == digest(inputs / "lora" / "adapter_model.safetensors")


def test_names_that_are_no_text_are_names(usual: Options, inputs: Path, tmp_path: Path) -> None:
    base, adapter, catalog, out = (
        tmp_path / os.fsdecode(name) for name in (b"b\xff\n", b"a\xfe", b"c\xff.db", b"o\xff")
    )
    shutil.copytree(inputs / "hf", base)
    shutil.copytree(inputs / "lora", adapter)
    shutil.copy(usual["catalog"], catalog)
    asked = {"base": base, "adapter": adapter, "out": out, "verify": "quick", "catalog": catalog, "imatrix": catalog}
    document = run_json("convert", {**usual, **asked})
    assert json.loads((out / "manifest.json").read_text()) == document["manifest"]
    assert recommend("Tiny", catalog)["items"]
    assert run_json("models", {}, "list")["models"][0]["name"] == "Tiny"


def test_one_conversion_at_a_time_makes_a_folder(usual: Options) -> None:
    with partial_folder(usual["out"], {}):
        result = run("convert", usual)
    assert (result.exit_code, result.stdout) == (11, "")
    assert "is being written by another process" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def wrong(inputs: Path, tmp_path_factory: pytest.TempPathFactory, tiny_gguf: Callable[..., Path]) -> Path:
    """Returns a folder with all kinds of inputs that cannot be used."""
    root = tmp_path_factory.mktemp("wrong")
    (root / "text.gguf").write_text("not a model\n")
    (root / "empty").mkdir()
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to("loop")
    (root / "cut.gguf").write_bytes((inputs / "base.gguf").read_bytes()[:-100])
    tiny_gguf(root / "bert.gguf", architecture="bert")
    tiny_gguf(root / "vocabulary.gguf", tensors={})
    tiny_gguf(root / "licensed.gguf", keys={"general.license": "cc-by-4.0"})
    change_config(shutil.copytree(inputs / "hf", root / "gpt2"), architectures=["GPT2LMHeadModel"])
    change_config(shutil.copytree(inputs / "hf", root / "yarn"), rope_scaling={"type": "yarn"}, rope_parameters=None)
    pickled = Path(shutil.copytree(inputs / "hf", root / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    (Path(shutil.copytree(inputs / "hf", root / "weightless")) / "model.safetensors").unlink()
    (Path(shutil.copytree(inputs / "hf", root / "torn")) / "config.json").write_text("{")
    (Path(shutil.copytree(inputs / "hf", root / "wordless")) / "tokenizer.json").unlink()
    write_adapters(inputs / "lora", root)
    write_catalogs(root)
    return root


def change_config(folder: Path, name: str = "config.json", **changes: Any) -> None:
    path = Path(folder) / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def write_adapters(lora: Path, root: Path) -> None:
    """Write what is left of an adapter, or was never one for this model."""
    tensors = load_file(lora / "adapter_model.safetensors")
    changed = {
        "a-zero": {name: values * ("lora_A" in name) for name, values in tensors.items()},
        "a-shape": {name: values[:, :-1].copy() for name, values in tensors.items()},
        "a-other": {name.replace("layers.1", "layers.7"): values for name, values in tensors.items()},
        "a-nan": {name: values * np.float32("nan") for name, values in tensors.items()},
    }
    for name, values in changed.items():
        save_file(values, Path(shutil.copytree(lora, root / name)) / "adapter_model.safetensors")
    (Path(shutil.copytree(lora, root / "a-bare")) / "adapter_config.json").unlink()
    weights = Path(shutil.copytree(lora, root / "a-pickle")) / "adapter_model.safetensors"
    weights.rename(weights.with_name("adapter_model.bin"))
    (Path(shutil.copytree(lora, root / "a-empty")) / "adapter_model.safetensors").unlink()
    change_config(shutil.copytree(lora, root / "a-ia3"), "adapter_config.json", peft_type="IA3")
    change_config(shutil.copytree(lora, root / "a-rank"), "adapter_config.json", r=5)
    change_config(shutil.copytree(lora, root / "a-pissa"), "adapter_config.json", init_lora_weights="pissa")


def write_catalogs(root: Path) -> None:
    from genrec_edge.catalog.writer import build

    (root / "few.csv").write_text("title\n" + "".join(f"Film {i}\n" for i in range(9)))
    build(root / "few.csv", root / "few.db")
    (root / "bad.jsonl").write_text('{"history": ["Alien"], "target": "Heat"}\n{"history": ["Alien"], "target": 7}\n')
    (root / "nowhere.jsonl").write_text('{"history": ["Alien"], "target": "No Such Film"}\n')
    (root / "nothing.jsonl").touch()


# id: (options, exit code, code, what the message says). {} is the folder with the wrong inputs, [] the good ones.
BAD_INPUT: dict[str, tuple[Options, int, str, str]] = {
    "no such base": ({"base": "{}/none"}, 2, "usage", "does not exist"),
    "base below a file": ({"base": "{}/text.gguf/x"}, 2, "usage", "does not exist"),
    "base is a loop": ({"base": "{}/loop"}, 2, "usage", "loop"),
    "base with too long a name": ({"base": "x" * 300}, 2, "usage", "File name too long"),
    "base is a text": ({"base": "{}/text.gguf"}, 5, "model-invalid", "not a GGUF file"),
    "base is a pipe": ({"base": "{}/pipe"}, 5, "model-invalid", "not a regular file"),
    "base is cut short": ({"base": "{}/cut.gguf"}, 5, "model-invalid", "cut short"),
    "base is a BERT": ({"base": "{}/bert.gguf"}, 5, "model-invalid", "'bert' model"),
    "base is a vocabulary": ({"base": "{}/vocabulary.gguf"}, 5, "model-invalid", "no weights"),
    "base is empty": ({"base": "{}/empty"}, 5, "model-invalid", "config.json cannot be read"),
    "base is pickled": ({"base": "{}/pickled"}, 5, "model-invalid", "pickle (pytorch_model.bin)"),
    "base is a GPT-2": ({"base": "{}/gpt2"}, 5, "model-invalid", "GPT2LMHeadModel"),
    "base has YaRN": ({"base": "{}/yarn"}, 5, "model-invalid", "'yarn'"),
    "base has no weights": ({"base": "{}/weightless"}, 5, "model-invalid", "no model.safetensors"),
    "base has no tokenizer": ({"base": "{}/wordless"}, 5, "model-invalid", "no tokenizer.json"),
    "base has a torn config": ({"base": "{}/torn"}, 5, "model-invalid", "is not JSON"),
    "no licence": ({"license": None}, 2, "usage", "the result needs a licence"),
    "no licence, and no base": ({"license": None, "base": "{}/none"}, 2, "usage", "the result needs a licence"),
    "licence in words": ({"license": "do what you want!"}, 2, "usage", "is not an SPDX expression"),
    "licence half in brackets": ({"license": "(MIT OR Apache-2.0"}, 2, "usage", "is not an SPDX expression"),
    "unknown quant": ({"quant": "Q8_0,Q9_9"}, 2, "usage", "unknown file types: 'Q9_9'"),
    "quant twice": ({"quant": "Q8_0,q8_0"}, 2, "usage", "has Q8_0 more than once"),
    "no quant": ({"quant": ""}, 2, "usage", "unknown file types: ''"),
    "quant that needs an imatrix": ({"quant": "Q8_0,IQ2_XS"}, 2, "usage", "IQ2_XS"),
    "layers in words": ({"keep-layers": "all"}, 2, "usage", "'all' is not a layer"),
    "layers out of range": ({"keep-layers": "0-2"}, 2, "usage", "includes layer 2"),
    "layers descending": ({"keep-layers": "1,0"}, 2, "usage", "'0' is not a layer"),
    "half a range": ({"keep-layers": "0-"}, 2, "usage", "'0-' is not a layer"),
    "no layers": ({"keep-layers": ""}, 2, "usage", "is not a layer"),
    "no such adapter": ({"adapter": "{}/none"}, 2, "usage", "is not a folder"),
    "adapter is a file": ({"adapter": "{}/text.gguf"}, 2, "usage", "is not a folder"),
    "adapter with too long a name": ({"adapter": "x" * 300}, 2, "usage", "File name too long"),
    "adapter without config": ({"adapter": "{}/a-bare"}, 5, "model-invalid", "adapter_config.json"),
    "adapter without weights": ({"adapter": "{}/a-empty"}, 5, "model-invalid", "no adapter_model.safetensors"),
    "adapter is pickled": ({"adapter": "{}/a-pickle"}, 5, "model-invalid", "pickle (adapter_model.bin)"),
    "adapter of other shapes": ({"adapter": "{}/a-shape"}, 5, "model-invalid", "has the shape"),
    "adapter of another rank": ({"adapter": "{}/a-rank"}, 5, "model-invalid", "not (5, 32)"),
    "adapter of a larger model": ({"adapter": "{}/a-other"}, 5, "model-invalid", "layers.7"),
    "adapter that changes nothing": ({"adapter": "{}/a-zero"}, 5, "model-invalid", "changes nothing"),
    "adapter without numbers": ({"adapter": "{}/a-nan"}, 5, "model-invalid", "not finite"),
    "adapter of an unknown type": ({"adapter": "{}/a-ia3"}, 5, "model-invalid", "'IA3'"),
    "adapter that changed the base": ({"adapter": "{}/a-pissa"}, 5, "model-invalid", "pissa"),
    "adapter of a deeper model": ({"adapter": "[]/lora", "keep-layers": "0"}, 5, "model-invalid", "layers.1"),
    "adapter with no weight": ({"adapter": "[]/lora=0"}, 2, "usage", "the weight 0 of"),
    "adapter with infinite weight": ({"adapter": "[]/lora=1e999"}, 2, "usage", "the weight inf of"),
    "adapter with a huge weight": ({"adapter": "[]/lora=1e300"}, 2, "usage", "the weight 1e+300 of"),
    "one good adapter, one not": ({"adapter": ["[]/lora", "{}/a-zero"]}, 5, "model-invalid", "a-zero changes"),
    "as-adapter, none": ({"as-adapter": True}, 2, "usage", "got 0"),
    "as-adapter, two": ({"as-adapter": True, "adapter": ["[]/lora", "[]/other"]}, 2, "usage", "got 2"),
    "as-adapter, zero": ({"as-adapter": True, "adapter": "{}/a-zero"}, 5, "model-invalid", "changes nothing"),
    "as-adapter, dry run": ({"as-adapter": True, "adapter": "[]/lora", "dry-run": True}, 2, "usage", "--dry-run"),
    "as-adapter, kept F16": ({"as-adapter": True, "adapter": "[]/lora", "keep-f16": True}, 2, "usage", "--keep-f16"),
    "as-adapter below a file": (
        {"as-adapter": True, "adapter": "[]/lora", "out": "{}/text.gguf/x"}, 2, "usage", "Not a directory",
    ),
    "no such imatrix": ({"imatrix": "{}/none.db"}, 2, "usage", "none.db"),
    "imatrix is a folder": ({"imatrix": "{}"}, 2, "usage", "which is not a file"),
    "imatrix is no catalog": ({"imatrix": "{}/text.gguf"}, 6, "catalog-invalid", "is not a catalog"),
    "no such catalog": ({"catalog": "{}/none.db", "verify": "full"}, 2, "usage", "none.db"),
    "no catalog": ({"catalog": "{}/text.gguf", "verify": "quick"}, 6, "catalog-invalid", "is not a catalog"),
    "catalog too small": ({"catalog": "{}/few.db", "verify": None}, 6, "catalog-invalid", "9 items"),
    "no such test": ({"test": "{}/none.jsonl"}, 2, "usage", "none.jsonl"),
    "test with bad lines": ({"test": "{}/bad.jsonl", "verify": "full"}, 2, "usage", "line 2 has a history or a target"),
    "test of other items": ({"test": "{}/nowhere.jsonl", "verify": "full"}, 2, "usage", "'No Such Film'"),
    "test with nothing": ({"test": "{}/nothing.jsonl", "verify": None}, 2, "usage", "it is empty"),
    "name with a space": ({"name": "My Films"}, 2, "usage", "cannot be the name"),
    "name that is a path": ({"name": "../films"}, 2, "usage", "cannot be the name"),
    "name too long": ({"name": "x" * 61}, 2, "usage", "cannot be the name"),
    "no name": ({"name": None, "out": "{}/films_1"}, 2, "usage", "'films_1', which cannot be the name"),
    "name of a known model": ({"name": "smollm2-135m"}, 2, "usage", "can be pulled"),
    "out is a file": ({"out": "{}/text.gguf"}, 2, "usage", "exists"),
    "out is full": ({"out": "[]"}, 2, "usage", "exists"),
    "out is a loop": ({"out": "{}/loop"}, 2, "usage", "loop"),
    "out is here": ({"out": "."}, 2, "usage", "cannot be the name of a new folder"),
    "out below a file": ({"out": "{}/text.gguf/x"}, 2, "usage", "Not a directory"),
    "out with too long a name": ({"out": "x" * 300}, 2, "usage", "File name too long"),
    "no threads": ({"threads": 0}, 2, "usage", "got 0"),
    "too many threads": ({"threads": 100_000}, 2, "usage", "got 100000"),
    "nothing to resume elsewhere": ({"resume": True, "base": "{}/none"}, 2, "usage", "does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_one_line_and_its_exit_code(usual: Options, inputs: Path, wrong: Path, case: str) -> None:
    changes, exit_code, code, message = BAD_INPUT[case]

    def filled(value: object) -> object:
        if isinstance(value, list):
            return [filled(each) for each in value]
        return value.replace("{}", str(wrong)).replace("[]", str(inputs)) if isinstance(value, str) else value

    options = {**usual, **{name: filled(value) for name, value in changes.items()}}
    root = usual["out"].parent
    before = names_below(wrong), names_below(inputs)
    plain = run("convert", options)
    assert (plain.exit_code, plain.stdout) == (exit_code, "")
    assert plain.stderr.startswith("error: ")
    assert plain.stderr.count("\n") == 1
    assert message in plain.stderr
    as_json = run("convert", options, "--json")
    assert (as_json.exit_code, as_json.stderr) == (exit_code, "")
    document = json.loads(as_json.stdout)
    assert document["schema"] == "genrec-edge/error@1"
    error = document["error"]
    assert (error["code"], error["exit"], error.keys()) == (code, exit_code, {"code", "exit", "message", "hint"})
    assert message in error["message"]
    left = [name for name in names_below(root) if not name.startswith("home")]
    assert (left, names_below(wrong), names_below(inputs)) == ([], *before)


def names_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def test_the_licence_that_the_base_claims_is_in_the_hint(usual: Options, wrong: Path) -> None:
    result = run("convert", {**usual, "base": wrong / "licensed.gguf", "license": None}, "--json")
    assert json.loads(result.stdout)["error"]["hint"] == "the base says cc-by-4.0"


@pytest.mark.parametrize("variable", ["GENREC_EDGE_HOME", "GENREC_EDGE_MODELS", "GENREC_EDGE_CACHE"])
def test_a_home_that_cannot_be_written_is_one_line(usual: Options, variable: str, wrong: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, str(wrong / "text.gguf" / "home"))
        result = run("convert", usual)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {wrong / 'text.gguf'}")
    assert result.stderr.count("\n") == 1
    assert run("convert", usual, "--resume").exit_code == 0  # a result that is there already is only installed
    assert recommend("Tiny", usual["catalog"])["items"]
