"""An adapter as a GGUF: llama.cpp with it computes what transformers and peft compute."""

from __future__ import annotations

import copy
import struct
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import torch
import transformers

from genrec_edge.convert.checkpoint.config_hf import read_config
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.lora.merge import drop_copies
from genrec_edge.convert.lora.peft_reader import Adapter, read_adapter
from genrec_edge.convert.lora.to_gguf import write_adapter_gguf
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.adapter import find_adapter
from genrec_edge.gguf.header import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Rows

pytestmark = pytest.mark.slow

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, biases": ("Llama", {"attention_bias": True, "head_dim": 32}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": False}),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "v_proj"]},
    "every linear layer": {"target_modules": "all-linear", "use_rslora": True},
    "patterns": {
        "target_modules": ["q_proj", "k_proj", "up_proj"],
        "rank_pattern": {"k_proj": 2, "layers.1.self_attn.q_proj": 7},
        "alpha_pattern": {"up_proj": 40, "layers.0.self_attn.q_proj": 1},
    },
    "embedding and output": {"target_modules": ["embed_tokens", "lm_head", "o_proj"], "alpha_pattern": {"lm_head": 3}},
}


@pytest.fixture(scope="module")
def make(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns a function that makes a random model of a family, as a checkpoint and as a GGUF, once each."""
    made: dict[str, tuple[transformers.PreTrainedModel, Checkpoint, Path]] = {}

    def model_of(family: str) -> tuple[transformers.PreTrainedModel, Checkpoint, Path]:
        if family not in made:
            made[family] = random_model(family, tiny_llama, tmp_path_factory.mktemp("model"))
        return made[family]

    return model_of


def random_model(family: str, vocabulary: Path, folder: Path) -> tuple[transformers.PreTrainedModel, Checkpoint, Path]:
    name, extra = FAMILIES[family]
    tokenizer = read_gguf_tokenizer(read_header(vocabulary))
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": len(tokenizer.tokens)}
    torch.manual_seed(3)
    model = getattr(transformers, f"{name}ForCausalLM")(
        getattr(transformers, f"{name}Config")(**{**sizes, **more, **extra})
    ).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape) * 0.2 + ("norm" in parameter_name)
            parameter.copy_(values.half())  # what the GGUF holds exactly
    model.config.architectures = [f"{name}ForCausalLM"]
    model.config.save_pretrained(folder)
    config, state = read_config(folder), model.state_dict()
    tensors = {key: tensor_of(key, state[key].numpy()) for key in expected_shapes(config)}
    checkpoint = Checkpoint(folder, config, tokenizer, tensors, ())
    with (folder / "base.gguf").open("xb") as file:
        write_gguf(checkpoint, file, {"general.name": "base"})
    return model, checkpoint, folder / "base.gguf"


def tensor_of(name: str, values: NDArray[np.float32]) -> Tensor:
    def read(rows: Rows) -> NDArray[np.float32]:
        return np.array(values[rows])

    return Tensor(name, values.shape, "F32", read)


def train(base: torch.nn.Module, folder: Path, **settings: Any) -> peft.PeftModel:
    """Wrap a copy of the base, put random numbers into A and B, and save them."""
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 12, "task_type": "CAUSAL_LM", **settings})
    generator = torch.Generator().manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(copy.deepcopy(base), config)
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.12
        wrapped.save_pretrained(str(folder))
    return wrapped.eval()


def logits_with(base_path: Path, adapter_path: Path | None, token_ids: list[int]) -> NDArray[np.float32]:
    model = Model(base_path, adapter_path=adapter_path)
    forward = FullLogitsModel(model, n_ctx=256, n_threads=1)
    try:
        model.apply_adapter(forward._context)
        return forward.logits(token_ids)
    finally:
        forward.close()


def adapter_file(adapter: Adapter, checkpoint: Checkpoint, path: Path) -> Path:
    write_adapter_gguf(drop_copies(adapter, checkpoint), checkpoint.config, path, {"general.name": "ours"})
    return path


@pytest.mark.parametrize("weight", [1.0, -0.6])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_computes_what_peft_computes(
    family: str, variant: str, weight: float, make: Any, tmp_path: Path
) -> None:
    model, checkpoint, base_path = make(family)
    wrapped = train(model, tmp_path / "adapter", **VARIANTS[variant])
    adapter = read_adapter(tmp_path / "adapter", checkpoint, weight=weight)
    if variant == "embedding and output" and checkpoint.config.tied:
        with pytest.raises(ModelInvalidError, match="is both embedding and output matrix"):
            adapter_file(adapter, checkpoint, tmp_path / "adapter.gguf")
        assert not (tmp_path / "adapter.gguf").exists()
        return
    path = adapter_file(adapter, checkpoint, tmp_path / "adapter.gguf")
    header = find_adapter(path, read_header(base_path))
    assert header.metadata["general.name"] == "ours"
    assert header.metadata["general.architecture"] == checkpoint.config.architecture
    assert len(header.tensors) == 2 * len(adapter.deltas)

    for module in wrapped.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.scaling["default"] *= weight
    token_ids = np.random.default_rng(0).integers(0, checkpoint.config.vocab_size, 60).tolist()
    with torch.no_grad():
        expected = wrapped(torch.tensor([token_ids])).logits[0].numpy()
    plain = logits_with(base_path, None, token_ids)
    found = logits_with(base_path, path, token_ids)
    assert np.abs(found - expected).max() < 5e-2
    assert np.abs(plain - expected).max() > 0.5


def test_an_adapter_of_one_rank_is_kept_as_it_is(make: Any, tmp_path: Path) -> None:
    """Nothing is folded into B where the file's own alpha says it all."""
    model, checkpoint, _ = make("qwen2")
    train(model, tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    adapter = read_adapter(tmp_path / "adapter", checkpoint)
    header = read_header(adapter_file(adapter, checkpoint, tmp_path / "adapter.gguf"))
    assert header.metadata["adapter.lora.alpha"] == 12
    names = {"attn_q": "self_attn.q_proj", "ffn_down": "mlp.down_proj"}
    for tensor in header.tensors:
        _, layer, part, _, half = tensor.name.split(".")
        delta = adapter.deltas[f"model.layers.{layer}.{names[part]}.weight"]
        matrix = delta.a if half == "lora_a" else delta.b
        assert tensor.shape == matrix.shape[::-1]
        assert np.memmap(header.path, np.float32, "r", tensor.offset, matrix.shape).tobytes() == matrix.tobytes()


def test_what_can_only_be_merged_is_named(make: Any, tmp_path: Path) -> None:
    model, checkpoint, _ = make("llama")
    train(model, tmp_path / "dora", target_modules=["q_proj"], use_dora=True)
    train(model, tmp_path / "whole", target_modules=["q_proj"], modules_to_save=["norm", "lm_head"])
    dora, whole = (read_adapter(tmp_path / name, checkpoint) for name in ("dora", "whole"))
    both = replace(dora, replaced=whole.replaced)
    path = tmp_path / "adapter.gguf"
    with pytest.raises(ModelInvalidError) as caught:
        write_adapter_gguf(both, checkpoint.config, path, {})
    for problem in (
        "model.norm.weight is replaced",
        "model.layers.1.input_layernorm.weight is replaced",
        "lm_head.weight is replaced",
        "model.layers.0.self_attn.q_proj.weight has DoRA",
        "model.layers.1.self_attn.q_proj.weight has DoRA",
    ):
        assert problem in caught.value.message
    assert not path.exists()


def test_a_failed_write_leaves_what_was_there(make: Any, tmp_path: Path) -> None:
    model, checkpoint, _ = make("llama")
    train(model, tmp_path / "adapter", target_modules=["q_proj"])
    adapter = read_adapter(tmp_path / "adapter", checkpoint)
    path = tmp_path / "out" / "adapter.gguf"
    path.parent.mkdir()
    path.write_bytes(b"old")
    with pytest.raises(struct.error):  # in the midst of the file: no such number fits
        write_adapter_gguf(adapter, checkpoint.config, path, {"genrec_edge.number": 1 << 40})
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"old"]
