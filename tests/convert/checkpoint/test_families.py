"""Small random models of every family, against transformers: the same logits out of the GGUF as out of the folder."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers

from genrec_edge.convert.checkpoint.config_hf import read_config
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
# name: (class of transformers, what its config has beyond SHAPE, llama.cpp's vocabulary)
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama-2": ("Llama", {}, "llama-spm"),
    "llama-1, all heads have keys": ("Llama", {"num_key_value_heads": 4}, "llama-spm"),
    "llama-3": ("Llama", {"rope_parameters": LLAMA3}, "llama-bpe"),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}, "llama-bpe"),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}, "llama-spm"),
    "llama, explicit head size": ("Llama", {"head_dim": 32}, "llama-spm"),
    "llama, linear": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
        "llama-spm",
    ),
    "mistral": ("Mistral", {"sliding_window": 4096, "head_dim": 16}, "llama-spm"),
    "qwen2": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "qwen2"),
    "qwen2.5, tied": ("Qwen2", {"tie_word_embeddings": True}, "qwen2"),
    "qwen3": ("Qwen3", {"head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "qwen2"),
}


def random_model(family: str, folder: Path, llama_vocabs: Path) -> Any:
    """Save a random model of a family with a real tokenizer, and return it in float32, as it was saved in float16."""
    name, extra, vocabulary = FAMILIES[family]
    tokenizer = read_gguf_tokenizer(read_header(llama_vocabs / f"ggml-vocab-{vocabulary}.gguf"))
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, "vocab_size": len(tokenizer.tokens), **extra})
    torch.manual_seed(len(family))
    model: Any = getattr(transformers, f"{name}ForCausalLM")(config)
    model.eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            # Attention far from uniform, so that a wrong order of its rows shows, and all else small, so that the half
            # floats of llama.cpp's products do not.
            scale = 0.12 if "q_proj" in parameter_name or "k_proj" in parameter_name else 0.06
            parameter.normal_(1.0 if "norm" in parameter_name else 0.0, scale)
    model.half().save_pretrained(folder)
    write_hf_tokenizer(tokenizer, folder)
    return model.float()


def to_gguf(folder: Path, path: Path) -> Path:
    with atomic_write(path) as file:
        write_gguf(read_folder(folder), file, {"general.name": "random"})
    return path


def logits(path: Path, token_ids: list[int]) -> NDArray[np.float32]:
    forward = FullLogitsModel(Model(path), n_ctx=256, n_threads=2)
    try:
        return forward.logits(token_ids)
    finally:
        forward.close()


def assert_agree(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert np.abs(found - expected).max() < 5e-2
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.995


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_those_of_transformers(family: str, tmp_path: Path, llama_vocabs: Path) -> None:
    model = random_model(family, tmp_path / "hf", llama_vocabs)
    token_ids = np.random.default_rng(0).integers(0, model.config.vocab_size, 200).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([token_ids])).logits[0].numpy()
    path = to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    assert_agree(logits(path, token_ids), expected)

    # And back: the same folder, as far as numbers go, and out of it the same bytes.
    write_folder(read_gguf(path), tmp_path / "back", "F16")
    again: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back", dtype=torch.float32)
    with torch.no_grad():
        assert_agree(again(torch.tensor([token_ids])).logits[0].numpy(), expected)
    back = to_gguf(tmp_path / "back", tmp_path / "back.gguf")
    if family != "mistral":  # which a GGUF calls a LLaMA, whose bytes are the same
        assert replace(read_config(tmp_path / "hf")) == read_config(tmp_path / "back")
    assert tensor_bytes(back) == tensor_bytes(path)


def tensor_bytes(path: Path) -> dict[str, bytes]:
    header = read_header(path)
    with path.open("rb") as file:
        found = {}
        for tensor in header.tensors:
            file.seek(tensor.offset)
            found[tensor.name] = file.read(tensor.n_bytes)
    return found


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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
@pytest.mark.parametrize("name", ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"])
def test_weights_beyond_half_floats_are_refused(value: float, name: str, tmp_path: Path, llama_vocabs: Path) -> None:
    model = random_model("llama-2", tmp_path / "hf", llama_vocabs)
    with torch.no_grad():
        model.get_parameter(name).view(-1)[3] = value
    model.save_pretrained(tmp_path / "hf")
    if value == 1e6 and "norm" in name:  # vectors stay float32
        to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
        return
    with pytest.raises(ModelInvalidError, match=name):
        to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()
