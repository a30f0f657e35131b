"""`genrec-edge convert` among files made to break it: no crash, no hang, no flood of memory, one line for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.pipeline.pack import pack_adapter
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.convert.pipeline.run import convert, prepare
from genrec_edge.engine.bindings import quantize
from genrec_edge.gguf.header import read_header
from tests.support.folders import ROOT
from tests.support.packed_adapters import write_adapter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

MOST_GROWN_BYTES = 256e6
WIDTH, FFN, N_LAYERS, N_HEADS, N_KV_HEADS = 32, 64, 2, 4, 2


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, tiny_gguf: Callable[..., Path]) -> Path:
    """Returns a folder with sound models of every kind that is read, and adapters that fit them."""
    root = tmp_path_factory.mktemp("sound")
    quantize(tiny_llama, root / "bpe.gguf", "Q8_0")
    write_spm_llama(root / "spm.gguf", tiny_gguf)
    for kind, source in (("bpe", tiny_llama), ("spm", root / "spm.gguf")):
        folder = root / f"hf-{kind}"
        write_folder(read_gguf(source), folder, "F16")
        (folder / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": [2, 3]}')
        (folder / "genrec_edge.json").write_text('{"data": "films", "seed": 7, "hit@10": 0.25, "done": true}')
    shard(root / "hf-spm")
    (root / "hf-spm" / "tokenizer.json").unlink()  # the pieces of tokenizer.model
    write_lora(root / "lora-plain", {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.1.self_attn.v_proj": 3}})
    write_lora(root / "lora-dora", {"use_dora": True})
    adapter = write_adapter(root / "whole", read_gguf(tiny_llama))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(root / "home"))
        pack_adapter(adapter, root / "hf-bpe", root / "packed")
    return root


def write_spm_llama(path: Path, tiny_gguf: Callable[..., Path]) -> None:
    """Write a LLaMA 3 with the tokenizer of a LLaMA 2, an output matrix and biases: everything a file can hold."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdehilnt", "th", "the"]
    types = [2, 3, 3, *[6] * 256, *[1] * (len(pieces) - 259)]
    rng = np.random.default_rng(0)
    kv_width = WIDTH // N_HEADS * N_KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(pieces), WIDTH),
        "output.weight": (len(pieces), WIDTH),
        "output_norm.weight": (WIDTH,),
    }
    for layer in range(N_LAYERS):
        block = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (kv_width, WIDTH),
            "attn_v": (kv_width, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (FFN, WIDTH),
            "ffn_up": (FFN, WIDTH),
            "ffn_down": (WIDTH, FFN),
        }
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
        shapes |= {f"blk.{layer}.{name}.bias": shape[:1] for name, shape in block.items() if name.startswith("attn")}
        shapes |= {f"blk.{layer}.{name}_norm.weight": (WIDTH,) for name in ("attn", "ffn")}
    tensors: dict[str, NDArray[Any]] = {"rope_freqs.weight": np.ones(WIDTH // N_HEADS // 2, np.float32)}
    for name, shape in shapes.items():
        tensors[name] = rng.normal(0, 0.2, shape).astype(np.float16 if len(shape) == 2 else np.float32)
    keys = {
        "llama.context_length": 512,
        "llama.embedding_length": WIDTH,
        "llama.block_count": N_LAYERS,
        "llama.feed_forward_length": FFN,
        "llama.attention.head_count": N_HEADS,
        "llama.attention.head_count_kv": N_KV_HEADS,
        "llama.rope.dimension_count": WIDTH // N_HEADS,
        "llama.rope.freq_base": 10000.0,
        "general.license": "llama2",
        "genrec_edge.train.seed": 7,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [float(-i) for i in range(len(pieces))],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": None,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": "{{ messages }}",
    }
    tiny_gguf(path, keys=keys, tensors=tensors)


def shard(folder: Path) -> None:
    """Cut the weights of a folder in two, as large models come."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for i, part in enumerate((names[:10], names[10:]), start=1):
        file_name = f"model-{i:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file_name, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file_name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_lora(folder: Path, more: dict[str, Any]) -> None:
    rng, rank = np.random.default_rng(1), 4
    tensors = {}
    for layer in range(N_LAYERS):
        for module, rows in (("q_proj", WIDTH), ("v_proj", WIDTH // N_HEADS * N_KV_HEADS)):
            r = more.get("rank_pattern", {}).get(module, rank)
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{name}.lora_A.weight"] = rng.normal(size=(r, WIDTH)).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = rng.normal(size=(rows, r)).astype(np.float32)
            if "use_dora" in more:
                tensors[f"{name}.lora_magnitude_vector"] = np.ones(rows, np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **more}
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "modules_to_save": None, "bias": "none"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "n_cases", "seed"), [("gguf", 2000, 1), ("folder", 2000, 2), ("command", 300, 3), ("packed", 2000, 4)]
)
def test_mutants_are_converted_or_refused(
    kind: str, n_cases: int, seed: int, inputs: Path, own_home: Path, tmp_path: Path
) -> None:
    """One process takes them all and says what came of it: `hostile_child.py` has the conditions."""
    (tmp_path / "scratch").mkdir()
    child = ROOT / "tests" / "support" / "hostile_child.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", child, kind, inputs, tmp_path / "scratch", str(n_cases), str(seed)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["accepted"] + found["refused"] == n_cases
    assert min(found["accepted"], found["refused"]) > n_cases // 20  # the mutants are neither harmless nor hopeless
    assert found["grown_bytes"] < MOST_GROWN_BYTES
    assert not list((own_home / "models").glob(".work*"))


@pytest.mark.parametrize("adapter", ["lora-plain", "lora-dora"])
@pytest.mark.parametrize("base", ["bpe.gguf", "spm.gguf", "hf-bpe", "hf-spm"])
def test_without_a_mutation_all_are_accepted(base: str, adapter: str, inputs: Path, tmp_path: Path) -> None:
    job = ConversionJob(
        base=inputs / base,
        out=tmp_path / "out",
        name="Tiny",
        licence="MIT",
        quants=("Q8_0",),
        catalog=None,
        adapters=((inputs / adapter, 1.0),),
        verify="none",
    )
    outcome = convert(prepare(job))
    assert read_header(outcome.files["Q8_0"]).quant == "Q8_0"
