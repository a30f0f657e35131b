"""The config of a GGUF: what survives it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.convert.checkpoint import config_gguf, config_hf
from genrec_edge.convert.checkpoint.config import ModelConfig, RopeScaling
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes, gguf_name
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header
from tests.support.model_configs import LLAMA3, MODELS, config_of, read_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

pytestmark = pytest.mark.slow


def gguf_of(config: ModelConfig, path: Path, write: Write, **changes: Any) -> Path:
    """Write a GGUF with the metadata of a config and random tensors of its shapes."""
    rng = np.random.default_rng(0)
    tensors = {
        gguf_name(name): rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in expected_shapes(config).items()
    }
    if config.rope_scaling is not None and config.rope_scaling.kind == "llama3":
        divisors = config.rope_scaling.divisors(config.rope_base, config.head_size)
        tensors[config_gguf.ROPE_FREQS] = np.array(divisors, np.float32)
    tensors |= changes.pop("tensors", {})
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    keys = {**config_gguf.gguf_fields(config), **changes}
    tokens = {"tokenizer.ggml.tokens": [*(f"t{i}" for i in range(config.vocab_size - 1)), "\u010a"]}
    return write(
        path,
        architecture=config.architecture,
        n_tokens=config.vocab_size,
        keys={**keys, **tokens},
        tensors=tensors,
    )


@pytest.mark.parametrize("model", MODELS)
def test_a_config_survives_a_gguf(model: str, tmp_path: Path, tiny_gguf: Write) -> None:
    config = config_of(model, tmp_path)
    path = gguf_of(config, tmp_path / "model.gguf", tiny_gguf)
    if model == "mistral":  # which a GGUF calls a LLaMA
        config = replace(config, hf_class="LlamaForCausalLM")
    assert config_gguf.read_config(read_header(path)) == config
    Model(path).close()  # llama.cpp takes it


@pytest.mark.parametrize("model", ["qwen2", "qwen3"])
def test_a_rotation_llama_cpp_does_not_compute_is_refused(model: str, tmp_path: Path, tiny_gguf: Write) -> None:
    """In these graphs nothing reads the divisors, and llama.cpp refuses the file: say so before it is written."""
    config = config_of(model, tmp_path)
    scaled = replace(config, rope_scaling=RopeScaling("llama3", 8.0), rope_base=500000.0)
    path = gguf_of(scaled, tmp_path / "model.gguf", tiny_gguf)
    with pytest.raises(ModelInvalidError):
        Model(path)
    with pytest.raises(ModelInvalidError, match="rope_freqs"):
        config_gguf.read_config(read_header(path))
    document = {**config_hf.config_document(config), "rope_parameters": LLAMA3}
    with pytest.raises(ModelInvalidError, match=r"llama3.*does not compute"):
        read_document(tmp_path, document)


@pytest.mark.parametrize(
    ("keys", "scaling"),
    [
        ({"llama.rope.scaling.factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"llama.rope.scale_linear": 4.0}, RopeScaling("linear", 4.0)),
        ({"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0}, None),
        ({"llama.rope.scaling.type": "linear"}, None),
    ],
)
def test_a_factor_counts_where_llama_cpp_counts_it(
    keys: dict[str, Any], scaling: RopeScaling | None, tmp_path: Path, tiny_gguf: Write
) -> None:
    config = config_of("llama", tmp_path)
    path = gguf_of(config, tmp_path / "model.gguf", tiny_gguf, **keys)
    assert config_gguf.read_config(read_header(path)) == replace(config, rope_scaling=scaling)


ZEROS = np.zeros(16, np.float32)
FOREIGN: dict[str, tuple[str, dict[str, Any], str]] = {
    "other divisors": (
        "llama 3",
        {"tensors": {"rope_freqs.weight": np.linspace(1, 8, 8, dtype=np.float32)}},
        "LLaMA 3",
    ),
    "divisors of zero": ("llama 3", {"tensors": {"rope_freqs.weight": ZEROS[:8]}}, "LLaMA 3"),
    "no numbers": ("llama 3", {"tensors": {"rope_freqs.weight": np.full(8, np.nan, np.float32)}}, "LLaMA 3"),
    "too many": ("llama 3", {"tensors": {"rope_freqs.weight": np.ones(9, np.float32)}}, "LLaMA 3"),
    "halves": ("llama 3", {"tensors": {"rope_freqs.weight": np.ones(8, np.float16)}}, "LLaMA 3"),
    "divisors and a factor": ("llama 3", {"llama.rope.scaling.factor": 2.0}, "LLaMA 3"),
    "yarn": ("llama", {"llama.rope.scaling.type": "yarn"}, "'yarn'"),
    "base of zero": ("llama 3", {"llama.rope.freq_base": 0.0}, "freq_base is 0.0"),
    "negative base": ("llama 3", {"llama.rope.freq_base": -1.0}, "freq_base is -1.0"),
    "base of text": ("llama", {"llama.rope.freq_base": "x"}, "freq_base is 'x'"),
    "factor of text": ("llama, linear", {"llama.rope.scaling.factor": "x"}, "factor is 'x'"),
    "factor of zero": ("llama, linear", {"llama.rope.scaling.factor": 0.0}, "factor is 0.0"),
    "long context": ("llama", {"llama.context_length": 4_000_000_000}, "context length is 4,000,000,000"),
    "biases of queries alone": ("llama", {"tensors": {"blk.0.attn_q.bias": np.zeros(64, np.float32)}}, "biases"),
    "no biases": ("qwen2", {"tensors": {"blk.0.attn_q.bias": None}}, "biases"),
    "norms": ("llama", {"tensors": {"blk.0.attn_q_norm.weight": ZEROS}}, "normalised"),
    "no norms": ("qwen3", {"tensors": {"blk.0.attn_q_norm.weight": None}}, "normalised"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_gguf_of_something_else_is_refused(case: str, tmp_path: Path, tiny_gguf: Write) -> None:
    model, changes, found = FOREIGN[case]
    path = gguf_of(config_of(model, tmp_path), tmp_path / "model.gguf", tiny_gguf, **changes)
    with pytest.raises(ModelInvalidError, match=found) as caught:
        config_gguf.read_config(read_header(path))
    assert caught.value.hint
