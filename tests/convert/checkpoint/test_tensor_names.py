"""Names, shapes, row orders and hyperparameters of every family, against transformers, torch and the gguf package."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import gguf
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from genrec_edge.convert import hf_json
from genrec_edge.convert.checkpoint import config_gguf, config_hf
from genrec_edge.convert.checkpoint.config import FAMILIES, ModelConfig, RopeScaling
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes, gguf_name, row_order
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[..., Path]

pytestmark = pytest.mark.slow

SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LINEAR: dict[str, Any] = {"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, biases of the mlp": ("Llama", {"mlp_bias": True, "rms_norm_eps": 1e-5}),
    "llama, head size": ("Llama", {"head_dim": 32, "num_key_value_heads": 4}),
    "llama 3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, linear": ("Llama", {"rope_parameters": LINEAR}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
}


def hf_config(model: str) -> Any:
    name, extra = MODELS[model]
    return getattr(transformers, f"{name}Config")(**{**SHAPE, **extra}, architectures=[f"{name}ForCausalLM"])


def write_config(folder: Path, document: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def read_document(folder: Path, document: dict[str, Any]) -> ModelConfig:
    return config_hf.read_config(write_config(folder, document))


def config_of(model: str, folder: Path) -> ModelConfig:
    hf_config(model).save_pretrained(folder)
    return config_hf.read_config(folder)


@pytest.mark.parametrize("model", MODELS)
def test_shapes_are_those_of_transformers(model: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        built = getattr(transformers, f"{MODELS[model][0]}ForCausalLM")(hf_config(model))
    config = config_of(model, tmp_path)
    expected = {name: tuple(p.shape) for name, p in built.state_dict().items()}
    if config.tied:
        del expected["lm_head.weight"]
    assert expected_shapes(config) == expected


@pytest.mark.parametrize("model", MODELS)
def test_names_are_those_of_the_gguf_package(model: str, tmp_path: Path) -> None:
    config = config_of(model, tmp_path)
    numbers = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(numbers[config.architecture], config.n_layers)
    for name in expected_shapes(config):
        assert gguf_name(name) == names.get_name(name, try_suffixes=(".weight", ".bias")), name


@pytest.mark.parametrize(
    "name",
    [
        "model.vision.weight",
        "model.layers.x.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.scale",
        "a.model.layers.1.mlp.up_proj.weight",
        "model.layers.1.self_attn.rotary_emb.inv_freq",
        "",
    ],
)
def test_other_names_have_none(name: str) -> None:
    with pytest.raises(KeyError):
        gguf_name(name)


@pytest.mark.parametrize("model", ["llama", "llama, head size", "mistral", "qwen2", "qwen3"])
def test_the_row_order_pairs_what_transformers_rotates_together(model: str, tmp_path: Path) -> None:
    """Rotating neighbours in the new order equals rotating halves in the old one, for every angle."""
    config = config_of(model, tmp_path)
    rng = np.random.default_rng(0)
    angles = torch.tensor(rng.uniform(0, 6, config.head_size // 2), dtype=torch.float64)
    for part, n_heads in (("q_proj", config.n_heads), ("k_proj", config.n_kv_heads)):
        order = row_order(config, f"model.layers.0.self_attn.{part}.weight")
        if config.architecture != "llama":
            assert order is None
            continue
        assert order is not None
        x = torch.tensor(rng.normal(size=(n_heads, config.head_size)))
        cos, sin = torch.cos(angles).repeat(2), torch.sin(angles).repeat(2)
        half = config.head_size // 2
        expected = x * cos + torch.cat((-x[:, half:], x[:, :half]), 1) * sin
        pairs = x.flatten()[torch.tensor(order)].reshape(n_heads, half, 2)
        complex_pairs = torch.view_as_complex(pairs.contiguous()) * torch.exp(1j * angles)
        assert torch.allclose(torch.view_as_real(complex_pairs).flatten(), expected.flatten()[torch.tensor(order)])
        bias = row_order(config, f"model.layers.0.self_attn.{part}.bias")
        assert np.array_equal(cast("NDArray[np.intp]", bias), order)
    for part in ("self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"):
        assert row_order(config, f"model.layers.0.{part}.weight") is None


@given(
    factor=st.floats(1.5, 64),
    low=st.floats(0.5, 4),
    more=st.floats(0.5, 8),
    base=st.floats(1e3, 1e7),
    context=st.integers(64, 1 << 17),
    head_size=st.sampled_from([16, 64, 128]),
)
def test_divisors_are_those_of_transformers(
    factor: float, low: float, more: float, base: float, context: int, head_size: int
) -> None:
    rope = {
        "rope_type": "llama3",
        "rope_theta": base,
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": low + more,
        "original_max_position_embeddings": context,
    }
    config = transformers.LlamaConfig(**SHAPE, head_dim=head_size, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1 / base ** (np.arange(0, head_size, 2) / head_size)
    found = RopeScaling("llama3", factor, context, low, low + more).divisors(base, head_size)
    assert np.allclose(plain / found, scaled.numpy(), rtol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_a_config_is_read_from_transformers_and_by_transformers(model: str, tmp_path: Path) -> None:
    theirs = hf_config(model)
    ours = config_of(model, tmp_path / "theirs")
    assert ours.hf_class == theirs.architectures[0]
    write_config(tmp_path / "ours", config_hf.config_document(ours))
    again = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    assert type(again) is type(theirs)
    keys = (*SHAPE, "rms_norm_eps", "tie_word_embeddings", "hidden_act", "architectures", "sliding_window")
    optional = ("attention_bias", "mlp_bias", "use_sliding_window")
    for key in (*keys, *(key for key in optional if hasattr(theirs, key))):
        assert getattr(again, key, None) == getattr(theirs, key, None), key
    assert again.rope_parameters == theirs.rope_parameters
    size = getattr(theirs, "head_dim", None) or theirs.hidden_size // theirs.num_attention_heads
    assert again.head_dim == ours.head_size == size
    assert config_hf.read_config(tmp_path / "ours") == ours


@pytest.mark.parametrize("rope", [LLAMA3, LINEAR, {"rope_type": "default", "rope_theta": 123456.0}])
def test_both_spellings_of_the_rotation_read_alike(rope: dict[str, Any], tmp_path: Path) -> None:
    """`rope_theta` beside a `rope_scaling` with "type", of transformers 4; `rope_parameters`, of transformers 5."""
    document = {**SHAPE, "architectures": ["LlamaForCausalLM"]}
    new = read_document(tmp_path, {**document, "rope_parameters": rope})
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    old = {**document, "rope_theta": rope["rope_theta"], "rope_scaling": scaling}
    assert read_document(tmp_path, old) == new
    scaling["type"] = scaling.pop("rope_type")
    assert read_document(tmp_path, old) == new
    read_by_transformers = transformers.AutoConfig.from_pretrained(
        write_config(tmp_path, {**old, "model_type": "llama"})
    )
    assert read_by_transformers.rope_parameters["rope_theta"] == new.rope_base == rope["rope_theta"]
    assert (new.rope_scaling is None) == (rope["rope_type"] == "default")


def test_what_the_first_llamas_left_out_is_what_transformers_takes(tmp_path: Path) -> None:
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    ours = read_document(
        tmp_path, {**{key: SHAPE[key] for key in needed}, "architectures": ["LLaMAForCausalLM"], "model_type": "llama"}
    )
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    assert ours.hf_class == "LlamaForCausalLM"
    assert ours.n_kv_heads == theirs.num_key_value_heads == 4
    assert ours.context_length == theirs.max_position_embeddings
    assert ours.rms_epsilon == theirs.rms_norm_eps
    assert ours.rope_base == theirs.rope_parameters["rope_theta"]
    assert ours.tied == theirs.tie_word_embeddings
    assert ours.head_size == theirs.head_dim
    assert (ours.attention_bias, ours.mlp_bias) == (theirs.attention_bias, theirs.mlp_bias)


@pytest.mark.parametrize("hf_class", [name for name in FAMILIES if name != "LlamaForCausalLM"])
@pytest.mark.parametrize("key", ["num_key_value_heads", "max_position_embeddings"])
def test_where_the_defaults_differ_nothing_is_guessed(hf_class: str, key: str, tmp_path: Path) -> None:
    document = {name: value for name, value in SHAPE.items() if name != key}
    with pytest.raises(ModelInvalidError, match=f"{key} is missing"):
        read_document(tmp_path, {**document, "architectures": [hf_class]})


@pytest.mark.parametrize(
    ("hf_class", "changes", "context"),
    [
        ("MistralForCausalLM", {"sliding_window": 128}, 128),
        ("MistralForCausalLM", {"sliding_window": None}, 32768),
        ("MistralForCausalLM", {}, 4096),
        ("MistralForCausalLM", {"sliding_window": 1 << 20}, 32768),
        ("Qwen2ForCausalLM", {"sliding_window": 128}, 32768),
        ("Qwen2ForCausalLM", {"sliding_window": 128, "use_sliding_window": True}, 128),
    ],
)
def test_the_context_ends_with_the_window(hf_class: str, changes: dict[str, Any], context: int, tmp_path: Path) -> None:
    document = {**SHAPE, "architectures": [hf_class], "max_position_embeddings": 32768, **changes}
    assert read_document(tmp_path, document).context_length == context


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "beyond a float": ({"rms_norm_eps": 10**400}, "rms_norm_eps is 1000"),
    "beyond a float32": ({"rope_theta": 1e300}, "rope_theta is 1e"),
    "not a float32": ({"rms_norm_eps": 1e-300}, "rms_norm_eps is 1e-300"),
    "NaN": ({"rope_theta": float("nan")}, "rope_theta is nan"),
    "a flag": ({"hidden_size": True}, "hidden_size is True"),
    "a number for a flag": ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1"),
    "no factor": ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor is missing"),
    "no lengths": (
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        "original_max_position_embeddings is missing.*low_freq_factor is missing.*high_freq_factor is missing",
    ),
    "no slope": ({"rope_parameters": {**LLAMA3, "high_freq_factor": 1.0}}, "is not above low_freq_factor"),
    "partly rotated": ({"rope_parameters": {**LLAMA3, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    "layers": ({"num_hidden_layers": 1 << 30}, "num_hidden_layers is above 512"),
    "odd head": ({"head_dim": 31}, "head_dim is 31, which is odd"),
}


@pytest.mark.parametrize("case", WRONG)
def test_impossible_numbers_are_refused_by_name(case: str, tmp_path: Path) -> None:
    changes, found = WRONG[case]
    with pytest.raises(ModelInvalidError, match=found):
        read_document(tmp_path, {**SHAPE, "architectures": ["LlamaForCausalLM"], **changes})


def test_everything_wrong_with_a_config_is_one_error(tmp_path: Path) -> None:
    changes = {"hidden_size": None, "rms_norm_eps": "x", "tie_word_embeddings": 3, "hidden_act": "gelu"}
    with pytest.raises(ModelInvalidError) as caught:
        read_document(tmp_path, {**SHAPE, "architectures": ["LlamaForCausalLM"], **changes})
    assert all(key in caught.value.message for key in changes)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": [' + b"1," * 3_000_001 + b"1]}", b" " * (1 << 20) + b"{}"],
)
def test_what_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ModelInvalidError, match=r"config\.json") as caught:
        hf_json.read_json(path)
    assert caught.value.hint


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
