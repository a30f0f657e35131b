"""Checkpoints read from a Hugging Face folder: types, shards, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.errors import ModelInvalidError
from tests.support.random_models import random_model, to_gguf

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_are_read_too(dtype: torch.dtype, tmp_path: Path, llama_vocabs: Path) -> None:
    model = random_model("llama-2", tmp_path / "hf", llama_vocabs).to(dtype)
    model.save_pretrained(tmp_path / "hf")
    weights = {name: p.float().numpy() for name, p in model.state_dict().items()}
    checkpoint = read_folder(tmp_path / "hf")
    assert checkpoint.tensors.keys() == weights.keys()
    for name, tensor in checkpoint.tensors.items():
        assert np.array_equal(tensor.read_all(), weights[name])


def test_shards_are_one_checkpoint(tmp_path: Path, llama_vocabs: Path) -> None:
    model = random_model("llama-2", tmp_path / "hf", llama_vocabs)
    whole = to_gguf(tmp_path / "hf", tmp_path / "whole.gguf")
    (tmp_path / "hf" / "model.safetensors").unlink()
    model.half().save_pretrained(tmp_path / "hf", max_shard_size="1MB")
    assert len(list((tmp_path / "hf").glob("model-*.safetensors"))) > 2
    assert to_gguf(tmp_path / "hf", tmp_path / "shards.gguf").read_bytes() == whole.read_bytes()
    next((tmp_path / "hf").glob("model-00002*.safetensors")).unlink()
    with pytest.raises(ModelInvalidError, match="lacks model-00002"):
        read_folder(tmp_path / "hf")


def test_another_output_than_the_embedding_is_kept_though_the_config_says_tied(
    tmp_path: Path, llama_vocabs: Path
) -> None:
    random_model("llama, tied", tmp_path, llama_vocabs)
    weights = load_file(tmp_path / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    save_file({**weights, "lm_head.weight": embedding.clone()}, tmp_path / "model.safetensors", {"format": "pt"})
    same = read_folder(tmp_path)
    assert (same.config.tied, same.notes, "lm_head.weight" in same.tensors) == (True, (), False)
    other = embedding.clone()
    other[-1, -1] += 1
    save_file({**weights, "lm_head.weight": other}, tmp_path / "model.safetensors", {"format": "pt"})
    checkpoint = read_folder(tmp_path)
    assert not checkpoint.config.tied
    assert np.array_equal(checkpoint.tensors["lm_head.weight"].read_all(), other.float().numpy())
    assert "hold another lm_head.weight: the two are kept apart" in checkpoint.notes[0]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert np.array_equal(theirs.lm_head.weight.detach().numpy(), other.float().numpy())


UNREADABLE_OUTPUTS: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "a type of no weights": ({"lm_head": torch.ones(270, 32, dtype=torch.float64)}, "lm_head.weight is of type F64"),
    "a type that is not read": (
        {"lm_head": torch.ones(270, 32).to(torch.float8_e4m3fn)},
        "lm_head.weight is of type F8_E4M3",
    ),
    "both empty": (
        {"lm_head": torch.ones(0), "model.embed_tokens": torch.ones(0)},
        r"lm_head.weight has the shape \(0,\), not \(270, 32\)",
    ),
    "both a number": (
        {"lm_head": torch.tensor(1.0), "model.embed_tokens": torch.tensor(1.0)},
        r"lm_head.weight has the shape \(\), not \(270, 32\)",
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE_OUTPUTS)
def test_an_output_that_cannot_be_read_is_not_left_out_though_the_config_says_tied(
    kind: str, tiny_base: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    tensors, found = UNREADABLE_OUTPUTS[kind]
    weights = load_file(base / "model.safetensors")
    save_file({**weights, **{f"{name}.weight": t for name, t in tensors.items()}}, base / "model.safetensors")
    with pytest.raises(ModelInvalidError, match=found):
        read_folder(base)


def test_weights_that_are_not_part_of_the_model_are_named(tmp_path: Path, llama_vocabs: Path) -> None:
    random_model("llama-2", tmp_path, llama_vocabs)
    weights = load_file(tmp_path / "model.safetensors")
    buffers = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(8) for i in range(2)}
    save_file({**weights, **buffers}, tmp_path / "model.safetensors", {"format": "pt"})
    save_file({"x": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    buffer_note, file_note = read_folder(tmp_path).notes
    assert all(name in buffer_note for name in buffers)
    assert "adapter_model.safetensors" in file_note


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another class": ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
    "no class": ({"architectures": None}, "unnamed"),
    "dynamic rope": ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'"),
    "yarn": ({"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 4.0}}, "'yarn'"),
    "activation": ({"hidden_act": "gelu"}, "gelu"),
    "quantized": ({"quantization_config": {"bits": 4}}, "quantization_config"),
    "odd heads": ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads 3"),
    "a text for a number": ({"hidden_size": "64"}, "hidden_size is '64'"),
    "a list for a number": ({"rms_norm_eps": [1]}, "rms_norm_eps is \\[1\\]"),
    "negative": ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
    "huge": ({"vocab_size": 1 << 40}, "vocab_size"),
    "partial rotation": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    "rope of a list": ({"rope_parameters": [1]}, "rope_scaling is not an object"),
    "a list for a kind": ({"rope_parameters": {"rope_type": ["llama3"]}}, "not supported"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name(case: str, tmp_path: Path, llama_vocabs: Path) -> None:
    changes, found = REFUSED[case]
    random_model("llama-2", tmp_path, llama_vocabs)
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**document, **changes}))
    with pytest.raises(ModelInvalidError, match=found):
        read_folder(tmp_path)


def test_all_misfits_are_in_one_error(tmp_path: Path, llama_vocabs: Path) -> None:
    model = random_model("llama-2", tmp_path, llama_vocabs)
    weights = model.state_dict()
    del weights["model.norm.weight"]
    weights["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 4)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(8)
    weights["model.vision.weight"] = torch.zeros(2)
    weights["lm_head.weight"] = weights["lm_head.weight"].to(torch.int8)
    from safetensors.torch import save_file

    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelInvalidError) as caught:
        read_folder(tmp_path)
    message = caught.value.message
    for expected in (
        "model.norm.weight is missing",
        "up_proj.weight has the shape (3, 4), not (160, 64)",
        "model.vision.weight is unknown",
        "lm_head.weight is of type I8",
    ):
        assert expected in message
    assert "inv_freq" not in message


def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path, llama_vocabs: Path) -> None:
    random_model("llama-2", tmp_path, llama_vocabs)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelInvalidError, match=r"pickle \(pytorch_model.bin\)") as caught:
        read_folder(tmp_path)
    assert "safetensors" in caught.value.hint
