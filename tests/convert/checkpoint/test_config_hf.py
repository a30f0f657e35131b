"""config.json of every family, against transformers, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transformers

from genrec_edge.convert.checkpoint import config_hf
from genrec_edge.convert.checkpoint.config import FAMILIES
from genrec_edge.errors import ModelInvalidError
from tests.support.model_configs import LINEAR, LLAMA3, MODELS, SHAPE, config_of, hf_config, read_document, write_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


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
