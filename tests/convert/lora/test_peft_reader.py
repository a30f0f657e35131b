"""Reading a PEFT folder: what is refused, and that one error tells everything that is wrong."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from genrec_edge.convert.checkpoint.config import ModelConfig
from genrec_edge.convert.lora.peft_config import AdapterConfig, read_adapter_config
from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.errors import GenRecError, ModelInvalidError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

MODEL = ModelConfig(
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
LAYER = "base_model.model.model.layers.{}.self_attn.q_proj"
Q_PROJ = {
    f"{LAYER.format(layer)}.lora_{half}.weight": np.full(shape, 0.5 + layer, np.float32)
    for layer in (0, 1)
    for half, shape in (("A", (4, 64)), ("B", (64, 4)))
}
FIRST_A, FIRST_B = f"{LAYER.format(0)}.lora_A.weight", f"{LAYER.format(0)}.lora_B.weight"


def write(
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


def refusal(folder: Path, model: ModelConfig = MODEL) -> str:
    with pytest.raises(ModelInvalidError) as caught:
        read_adapter(folder, model)
    assert str(folder) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message


SETTINGS = sorted(peft.LoraConfig().to_dict())  # type: ignore[no-untyped-call]
NONE = np.zeros(0, np.float32)


def test_an_adapter_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", {"alpha_pattern": {"layers.1.self_attn.q_proj": 2}})
    adapter = read_adapter(folder, MODEL, weight=-0.5)
    assert (adapter.path, adapter.weight, adapter.rank, adapter.alpha) == (folder, -0.5, 4, 6)
    assert adapter.sha256 == hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert adapter.replaced == {}
    assert list(adapter.deltas) == [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)]
    for layer, delta in enumerate(adapter.deltas.values()):
        assert (delta.a.shape, delta.b.shape) == ((4, 64), (64, 4))
        assert delta.a.dtype == delta.b.dtype == np.float32
        assert (delta.a == 0.5 + layer).all()
        assert delta.scale == (6 / 4, 2 / 4)[layer]
        assert not delta.is_zero


def test_names_of_older_versions_are_read(tmp_path: Path) -> None:
    old = {name.replace(".weight", ".default.weight"): value for name, value in Q_PROJ.items()}
    folder = write(tmp_path / "a", None, {**dict.fromkeys(Q_PROJ, NONE), **old})
    assert len(read_adapter(folder, MODEL).deltas) == 2


def test_everything_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    nan = np.full((4, 64), math.nan, np.float32)
    prefix = "base_model.model.model."
    folder = write(
        tmp_path / "a",
        {"modules_to_save": ["o_proj", "lm_head"], "target_modules": ["q_proj", "up_proj"]},
        {
            FIRST_A: nan,
            f"{LAYER.format(1)}.lora_B.weight": NONE,
            f"{LAYER.format(7)}.lora_A.weight": np.ones((4, 64), np.float32),
            f"{LAYER.format(7)}.lora_B.weight": np.ones((64, 4), np.float32),
            f"{prefix}layers.0.self_attn.k_proj.lora_A.weight": np.ones((4, 64), np.float32),
            f"{prefix}layers.0.self_attn.k_proj.lora_B.weight": np.ones((64, 4), np.float32),
            f"{prefix}layers.0.self_attn.v_proj.lora_A.weight": np.ones((5, 64), np.float32),
            f"{prefix}layers.0.self_attn.v_proj.lora_B.weight": np.ones((32, 5), np.float32),
            f"{prefix}layers.0.self_attn.o_proj.weight": np.ones((64, 63), np.float32),
            f"{prefix}layers.0.mlp.up_proj.weight": np.ones((112, 64), np.float32),
            f"{prefix}layers.0.mlp.up_proj.lora_B.bias": np.ones(112, np.float32),
            f"{prefix}norm.lora_A.weight": np.ones((4, 64), np.float32),
            f"{prefix}layers.1.mlp.up_proj.lora_A.weight": np.ones((4, 64), np.int64),
            "model.norm.weight": np.ones(64, np.float32),
            "base_model.model.score.weight": np.ones((2, 64), np.float32),
            "base_model.model.\x1b[31m": np.ones(2, np.float32),
        },
    )
    message = refusal(folder)
    for problem in (
        f"'{FIRST_A}' has values that are not finite",
        "model.layers.1.self_attn.q_proj has no lora_B",
        "'model.layers.7.self_attn.q_proj' is not a linear layer or embedding of the model",
        "k_proj.lora_B.weight' has the shape (64, 4), not (32, 4)",
        "v_proj.lora_A.weight' has the shape (5, 64), not (4, 64)",
        "v_proj.lora_B.weight' has the shape (32, 5), not (32, 4)",
        "o_proj.weight' has the shape (64, 63), not (64, 64)",
        "up_proj.weight' does not belong to a module of modules_to_save",
        "up_proj.lora_B.bias' is not a tensor of the model",
        "'model.norm' is not a linear layer or embedding of the model",
        "up_proj.lora_A.weight' is of type I64, not one of F32, F16, BF16",
        "'model.norm.weight' does not start with base_model.model.",
        "'base_model.model.score.weight' is not a tensor of the model",
        r"'base_model.model.\x1b[31m' is not part of a LoRA",
        "model.layers.0.mlp.up_proj is in target_modules, and has no A and B",
        "model.layers.1.mlp.up_proj is in target_modules, and has no A and B",
        "'lm_head' of modules_to_save has no tensor",
    ):
        assert problem in message, problem


ROWS = "base_model.model.{}.token_adapter.trainable_tokens_delta"


@pytest.mark.parametrize(
    ("tokens", "tensors", "finding"),
    [
        ([1, 96], {"model.embed_tokens": 2}, "trainable_token_indices has 96, and model.embed_tokens.weight has 96 rows"),
        ([1, 2], {"model.embed_tokens": 3}, "trainable_tokens_delta' has the shape (3, 64), not (2, 64)"),
        ([1, 2], {}, "'embed_tokens' of trainable_token_indices has no tensor"),
        ([1], {"model.embed_tokens": 1, "lm_head": 1}, "lm_head.token_adapter.trainable_tokens_delta' does not belong to a"),
        ({"q_proj": [1]}, {"model.layers.0.self_attn.q_proj": 1}, "neither the embedding nor the output matrix"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tokens: Any, tensors: dict[str, int], finding: str, tmp_path: Path) -> None:
    rows = {ROWS.format(module): np.ones((n, 64), np.float32) for module, n in tensors.items()}
    assert finding in refusal(write(tmp_path / "a", {"trainable_token_indices": tokens}, rows))


def test_a_resized_vocabulary_is_named(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a",
        {"modules_to_save": ["lm_head"]},
        {"base_model.model.lm_head.weight": np.ones((97, 64), np.float32)},
    )
    with pytest.raises(ModelInvalidError) as caught:
        read_adapter(folder, MODEL)
    assert "lm_head.weight' has the shape (97, 64), not (96, 64): the vocabulary was resized" in caught.value.message
    assert "resize_token_embeddings" in caught.value.hint


def test_an_embedding_with_dora_is_refused(tmp_path: Path) -> None:
    name = "base_model.model.model.embed_tokens.lora_"
    folder = write(
        tmp_path / "a",
        {"use_dora": True, "target_modules": ["embed_tokens"]},
        {
            **dict.fromkeys(Q_PROJ, NONE),
            f"{name}embedding_A": np.ones((4, 96), np.float32),
            f"{name}embedding_B": np.ones((64, 4), np.float32),
            f"{name}magnitude_vector": np.ones(64, np.float32),
        },
    )
    assert "model.embed_tokens is an embedding with DoRA" in refusal(folder)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", {"target_modules": ".*q_proj"}, dict.fromkeys(Q_PROJ, NONE))
    assert refusal(folder).endswith("it has no tensors")


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "PISSA", "olora", "corda", "loftq", "lora_ga"])
def test_adapters_of_a_changed_base_are_refused(init: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", {"init_lora_weights": init})
    assert f"init_lora_weights is {init.lower()}, which changes the weights of the base" in refusal(folder)


@pytest.mark.parametrize("init", [True, False, "gaussian", "eva", "orthogonal", "mica"])
def test_adapters_of_an_unchanged_base_are_read(init: bool | str, tmp_path: Path) -> None:
    read_adapter(write(tmp_path / "a", {"init_lora_weights": init}), MODEL)


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
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern is {'q_proj': 0}, not an object of patterns with a number each"),
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
    assert finding in refusal(write(tmp_path / "a", config))


def test_all_settings_that_cannot_be_merged_are_told_at_once(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "a", {"r": -1, "lora_bias": True, "init_lora_weights": "olora", "x": [1]}))
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


def test_what_is_not_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        read_adapter(tmp_path / "missing", MODEL)
    with pytest.raises(ModelInvalidError, match=r"has no adapter_model\.safetensors"):
        read_adapter(tmp_path, MODEL)
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelInvalidError, match="as pickle") as caught:
        read_adapter(tmp_path, MODEL)
    assert "safetensors" in caught.value.hint
    folder = write(tmp_path / "a")
    for weight in (0, math.nan, math.inf):
        with pytest.raises(UsageError, match="must not be 0"):
            read_adapter(folder, MODEL, weight=weight)
    (folder / "adapter_config.json").unlink()
    assert "adapter_config.json cannot be read" in refusal(folder)
    (folder / "adapter_config.json").write_text("[" * 100_000)
    assert "is not JSON" in refusal(folder)


def test_dora_has_no_weight(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", {"use_dora": True})
    with pytest.raises(UsageError, match="DoRA"):
        read_adapter(folder, MODEL, weight=2)
    assert "q_proj has no lora_magnitude_vector" in refusal(folder)


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
    folder = write(tmp_path_factory.getbasetemp() / "settings", {key: value})
    try:
        config = read_adapter_config(folder / "adapter_config.json")
        config.scale_of("model.layers.0.self_attn.q_proj")
        read_adapter(folder, MODEL)
    except GenRecError as e:
        message = e.message
    else:
        message = ""
    assert "\n" not in message
