"""The settings of a PEFT adapter: which are refused, and what patterns match."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import peft
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrec_edge.convert.lora.peft_config import AdapterConfig, read_adapter_config
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.errors import GenRecError
from tests.support.peft_folders import MODEL, refusal, write_peft

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SETTINGS = sorted(peft.LoraConfig().to_dict())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "PISSA", "olora", "corda", "loftq", "lora_ga"])
def test_adapters_of_a_changed_base_are_refused(init: str, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "a", {"init_lora_weights": init})
    assert f"init_lora_weights is {init.lower()}, which changes the weights of the base" in refusal(folder)


@pytest.mark.parametrize("init", [True, False, "gaussian", "eva", "orthogonal", "mica"])
def test_adapters_of_an_unchanged_base_are_read(init: bool | str, tmp_path: Path) -> None:
    read_adapter(write_peft(tmp_path / "a", {"init_lora_weights": init}), MODEL)


@pytest.mark.parametrize(
    ("config", "finding"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is set"),
        ({"arrow_config": {"top_k": 3}}, "arrow_config is set"),
        ({"kasa_config": {"beta": 1}}, "kasa_config is set"),
        ({"layer_replication": [[0, 1], [0, 2]]}, "layer_replication is set"),
        ({"lora_bias": True}, "lora_bias is set"),
        ({"megatron_config": {"x": 1}}, "megatron_config is set"),
        ({"monteclora_config": {"num_samples": 8}}, "monteclora_config is set"),
        ({"target_parameters": ["experts.up"]}, "target_parameters is set"),
        ({"trainable_token_indices": "all"}, "trainable_token_indices is 'all', not lists of different token ids"),
        ({"trainable_token_indices": [0, 0]}, "trainable_token_indices is [0, 0], not lists of different token ids"),
        ({"trainable_token_indices": {"lm_head": [-1]}}, "not lists of different token ids"),
        ({"trainable_token_indices": {"lm_head": [True]}}, "not lists of different token ids"),
        ({"trainable_token_indices": {"lm_head": 7}}, "not lists of different token ids"),
        ({"trainable_token_indices": [10**30]}, "not lists of different token ids"),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora is set"),
        ({"use_qalora": True}, "use_qalora is set"),
        ({"velora_config": {"num_groups": 2}}, "velora_config is set"),
        ({"of_tomorrow": 3}, "'of_tomorrow' is set to 3, which is unknown"),
        ({"init_lora_weights": "of_tomorrow"}, "init_lora_weights is 'of_tomorrow', which is unknown"),
        ({"bias": "some"}, "bias is 'some'"),
        ({"r": 0}, "r is 0, not a rank"),
        ({"r": True}, "r is True, not a rank"),
        ({"r": 1 << 40}, "not a rank"),
        ({"lora_alpha": "6"}, "lora_alpha is '6', not a number"),
        ({"lora_alpha": math.nan}, "lora_alpha is nan, not a number"),
        ({"lora_alpha": 10**400}, "not a number"),
        ({"use_dora": 1}, "use_dora is 1, not true or false"),
        (
            {"rank_pattern": {"q_proj": 0}},
            "rank_pattern is {'q_proj': 0}, not an object of patterns with a number each",
        ),
        ({"alpha_pattern": [1]}, "alpha_pattern is [1], not an object of patterns with a number each"),
        ({"rank_pattern": {"(": 1}}, "rank_pattern has '(', which is not a regular expression"),
        ({"rank_pattern": {"(a+)+": 1}}, "rank_pattern has '(a+)+', which could take too long"),
        ({"rank_pattern": {"(.|.)" * 40: 1}}, "which could take too long"),
        ({"rank_pattern": {".*.*.*x": 1}}, "which could take too long"),
        ({"alpha_pattern": {f".*.*x{i}": 1 for i in range(99)}}, "take too long to match"),
        ({"rank_pattern": {str(i): 1 for i in range(5000)}}, "not an object of patterns with a number each"),
        ({"target_modules": [["q_proj"]]}, "target_modules is [['q_proj']], not a list of names"),
        ({"modules_to_save": "lm_head"}, "modules_to_save is 'lm_head', not a list of names"),
    ],
)
def test_settings_that_cannot_be_merged_are_named(config: dict[str, Any], finding: str, tmp_path: Path) -> None:
    assert finding in refusal(write_peft(tmp_path / "a", config))


def test_all_settings_that_cannot_be_merged_are_told_at_once(tmp_path: Path) -> None:
    message = refusal(write_peft(tmp_path / "a", {"r": -1, "lora_bias": True, "init_lora_weights": "olora", "x": [1]}))
    assert all(word in message for word in ("r is -1", "lora_bias", "olora", "'x' is set to [1]"))


def test_every_setting_of_peft_is_judged() -> None:
    """A setting of a newer peft that is not known here must not pass in silence."""
    from genrec_edge.convert.lora import peft_config as ours

    judged = ours._USED | ours._IGNORED | ours._REFUSED.keys()
    assert set(SETTINGS) <= judged
    assert not ours._REFUSED.keys() & (ours._USED | ours._IGNORED)


@settings(max_examples=200, deadline=None)
@given(
    patterns=st.dictionaries(
        st.sampled_from(
            ["q_proj", "self_attn.q_proj", r"layers\.\d+\.mlp", "^model.layers.1", "up|q_proj", "roj", ".*"]
        ),
        st.integers(1, 9),
        max_size=4,
    ),
    module=st.sampled_from(
        ["model.layers.1.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head", "layers.3.mlp"]
    ),
)
def test_patterns_mean_what_they_mean_to_peft(patterns: dict[str, int], module: str) -> None:
    from genrec_edge.convert.lora import peft_config as ours

    found = ours._patterns(patterns)
    config = AdapterConfig(5, 7.0, found, found, False, False, False, None, (), {})
    expected = patterns.get(peft.utils.other.get_pattern_key(list(patterns), module))
    assert config.rank_of(module) == (expected or 5)
    assert config.scale_of(module) == (expected or 7) / (expected or 5)


@settings(max_examples=300, deadline=None)
@given(
    key=st.sampled_from(SETTINGS),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
)
def test_no_value_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, key: str, value: object) -> None:
    folder = write_peft(tmp_path_factory.getbasetemp() / "settings", {key: value})
    try:
        config = read_adapter_config(folder / "adapter_config.json")
        config.scale_of("model.layers.0.self_attn.q_proj")
        read_adapter(folder, MODEL)
    except GenRecError as e:
        message = e.message
    else:
        message = ""
    assert "\n" not in message
