"""The synthetic checkpoint and its adapter are what transformers and peft take them for."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = ROOT / "benchmarks" / "synthetic_llama.py"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns a checkpoint of two layers in several shards, and its adapter."""
    root = tmp_path_factory.mktemp("synthetic")
    tokenizer_path = root / "tokenizer.model"
    tokenizer_path.write_bytes(b"only copied")
    shape = "--layers 2 --hidden 64 --ffn 172 --vocab 500 --heads 4 --kv-heads 2 --shard-bytes 70000 --seed 3"
    outputs: list[str | Path] = ["--adapter", root / "lora", "--tokenizer", tokenizer_path]
    command = [SCRIPT, root / "base", *shape.split(), *outputs]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return root / "base", root / "lora"


@pytest.mark.slow
def test_transformers_loads_every_tensor(folders: tuple[Path, Path]) -> None:
    import torch
    from transformers import LlamaForCausalLM

    loaded: Any = LlamaForCausalLM.from_pretrained(folders[0], output_loading_info=True, dtype=torch.float16)
    model, info = loaded

    assert not any(info.values()), info
    assert len(list(folders[0].glob("*.safetensors"))) > 2
    assert model.config.num_key_value_heads == 2
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            assert torch.equal(weight, torch.ones_like(weight)), name
        else:
            spread = weight.float().std().item() * weight.shape[1] ** 0.5
            assert spread == pytest.approx(1, abs=0.05), name
    weights = [weight.flatten()[:64] for name, weight in model.named_parameters() if weight.dim() == 2]
    assert len({tuple(weight.tolist()) for weight in weights}) == len(weights)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 with transformers 5
def test_peft_merges_the_adapter(folders: tuple[Path, Path]) -> None:
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    base = LlamaForCausalLM.from_pretrained(folders[0], dtype=torch.float32)
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    merged = PeftModel.from_pretrained(base, folders[1]).merge_and_unload().state_dict()

    changed = {name for name, weight in merged.items() if not torch.equal(weight, before[name])}
    expected = {f"model.layers.{i}.self_attn.{part}_proj.weight" for i in range(2) for part in "qv"}
    assert changed == expected


def test_index_names_every_shard(folders: tuple[Path, Path]) -> None:
    index = json.loads((folders[0] / "model.safetensors.index.json").read_text())
    shards = {path.name: path.stat().st_size for path in folders[0].glob("*.safetensors")}

    assert set(index["weight_map"].values()) == set(shards)
    n_weights = 2 * 500 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 172) + 5 * 64
    assert index["metadata"]["total_size"] == 2 * n_weights
    assert 2 * n_weights < sum(shards.values()) < 2 * n_weights + 10_000
