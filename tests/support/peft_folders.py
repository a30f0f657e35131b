"""PEFT folders for a small LLaMA, with changes, and how their refusal is checked."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import safetensors.numpy

from genrec_edge.convert.checkpoint.config import ModelConfig
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.convert.tokenizer.types import Tokenizer
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Rows


def checkpoint(config: ModelConfig, values: Mapping[str, NDArray[np.float32]]) -> Checkpoint:
    """Return a base of arrays."""
    tensors = {name: Tensor(name, array.shape, "F32", partial(_rows, array)) for name, array in values.items()}
    return Checkpoint(Path("base"), config, Tokenizer("gpt2", "default", (), ()), tensors, ())


def _rows(array: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
    return np.array(array[rows])


CONFIG = ModelConfig(
    architecture="llama",
    hf_class="LlamaForCausalLM",
    vocab_size=96,
    hidden_size=64,
    layers=(0, 1),
    n_original_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_size=16,
    ffn_size=112,
    context_length=128,
    rms_epsilon=1e-6,
    rope_base=10000.0,
    tied=False,
)
_RNG = np.random.default_rng(0)
MODEL = checkpoint(
    CONFIG, {name: _RNG.normal(0, 0.3, shape).astype(np.float32) for name, shape in expected_shapes(CONFIG).items()}
)
LAYER = "base_model.model.model.layers.{}.self_attn.q_proj"
Q_PROJ = {
    f"{LAYER.format(layer)}.lora_{half}.weight": np.full(shape, 0.5 + layer, np.float32)
    for layer in (0, 1)
    for half, shape in (("A", (4, 64)), ("B", (64, 4)))
}
FIRST_A, FIRST_B = f"{LAYER.format(0)}.lora_A.weight", f"{LAYER.format(0)}.lora_B.weight"
NONE = np.zeros(0, np.float32)


def write_peft(
    folder: Path, config: dict[str, Any] | None = None, tensors: dict[str, np.ndarray[Any, Any]] | None = None
) -> Path:
    """Write what peft would, for a LoRA of rank 4 on q_proj, with changes; a tensor of no elements is left out."""
    folder.mkdir(exist_ok=True)
    document = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj"], task_type="CAUSAL_LM").to_dict()  # type: ignore[no-untyped-call]
    document = {key: sorted(value) if isinstance(value, set) else value for key, value in document.items()}
    (folder / "adapter_config.json").write_text(json.dumps({**document, **(config or {})}))
    stored = {name: value for name, value in {**Q_PROJ, **(tensors or {})}.items() if value.size}
    safetensors.numpy.save_file(stored, folder / "adapter_model.safetensors")
    return folder


def refusal(folder: Path, model: Checkpoint = MODEL) -> str:
    with pytest.raises(ModelInvalidError) as caught:
        read_adapter(folder, model)
    assert str(folder) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message
