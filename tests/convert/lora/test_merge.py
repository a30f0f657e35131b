"""The merge against peft: random models of every family, every kind of adapter, tensor by tensor."""

from __future__ import annotations

import copy
import itertools
import json
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import peft
import pytest
import torch
import transformers

from genrec_edge.convert.checkpoint.config_hf import read_config
from genrec_edge.convert.checkpoint.tensor_names import EMBEDDING, OUTPUT, expected_shapes
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.lora.merge import drop_copies, merge_adapters
from genrec_edge.convert.lora.peft_reader import Adapter, read_adapter
from genrec_edge.convert.tokenizer.types import Tokenizer
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Rows

pytestmark = pytest.mark.slow

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": False}),
}
Q_V = ["q_proj", "v_proj"]


def base_model(family: str, folder: Path) -> transformers.PreTrainedModel:
    name, extra = FAMILIES[family]
    torch.manual_seed(len(family))
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**{**SHAPE, **extra}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    model.config.architectures = [f"{name}ForCausalLM"]
    model.config.save_pretrained(folder)
    return cast("transformers.PreTrainedModel", model.eval())


def checkpoint_of(model: torch.nn.Module, folder: Path) -> Checkpoint:
    """Return the model as a checkpoint; its config was saved in the folder."""
    config = read_config(folder)
    state = model.state_dict()
    tensors = {name: tensor_of(name, state[name].float().numpy().copy()) for name in expected_shapes(config)}
    return Checkpoint(folder, config, Tokenizer("gpt2", "default", (), ()), tensors, ())


def tensor_of(name: str, values: NDArray[np.float32]) -> Tensor:
    def read(rows: Rows) -> NDArray[np.float32]:
        return np.array(values[rows])

    return Tensor(name, values.shape, "F32", read)


@contextmanager
def quiet() -> Iterator[None]:
    """Let peft warn of tied embeddings, of fan_in_fan_out, and of what transformers deprecates under it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def wrap(model: torch.nn.Module, *, seed: int = 1, dtype: torch.dtype = torch.float32, **config: Any) -> peft.PeftModel:
    """Return a PEFT model around a copy of the base, with random numbers in everything that was trained."""
    config = {"r": 4, "lora_alpha": 6, "target_modules": Q_V, "task_type": "CAUSAL_LM", **config}
    with quiet():
        wrapped = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(**config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad or "lora_" in name:
                noise = torch.randn(parameter.shape, generator=generator) * 0.1
                trained = parameter * (1 + noise) if "magnitude" in name else parameter + noise
                parameter.copy_(trained.to(dtype))
    return wrapped.eval()


def save(wrapped: peft.PeftModel, folder: Path) -> Path:
    with quiet():
        wrapped.save_pretrained(str(folder))
    return folder


def unloaded(wrapped: peft.PeftModel) -> transformers.PreTrainedModel:
    with quiet():
        return cast("transformers.PreTrainedModel", wrapped.merge_and_unload())


def assert_same(found: Checkpoint, expected: torch.nn.Module) -> None:
    state = expected.state_dict()
    assert found.tensors.keys() == expected_shapes(found.config).keys()
    for name, tensor in found.tensors.items():
        values = tensor.read_all()
        assert values.dtype == np.float32
        assert values.shape == tensor.shape
        assert np.abs(values - state[name].float().numpy()).max() <= 1e-6, name


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return cast("torch.Tensor", model(torch.arange(0, 90, 3)[None]).logits[0])


def run(found: Checkpoint) -> torch.Tensor:
    """Return the logits that transformers computes with the merged tensors, tied or not as the config says."""
    name = found.config.hf_class
    document = json.loads((found.path / "config.json").read_text()) | {"tie_word_embeddings": found.config.tied}
    config = getattr(transformers, f"{document['model_type'].capitalize()}Config")(**document)
    model = getattr(transformers, name)(config).eval()
    state = {name: torch.from_numpy(tensor.read_all()) for name, tensor in found.tensors.items()}
    missing = model.load_state_dict(state, strict=False)
    assert set(missing.missing_keys) <= ({OUTPUT} if found.config.tied else set())
    assert not missing.unexpected_keys
    model.tie_weights()
    return logits(model)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilized": {"use_rslora": True},
    "every linear layer": {"target_modules": "all-linear", "r": 3},
    "a regular expression": {"target_modules": r".*layers\.1\.(self_attn\.[qk]_proj|mlp\.down_proj)"},
    "one layer": {"target_modules": Q_V, "layers_to_transform": [1]},
    "not everywhere": {"target_modules": Q_V, "exclude_modules": ["layers.0.self_attn.q_proj"]},
    "patterns": {
        "target_modules": ["q_proj", "v_proj", "up_proj"],
        "rank_pattern": {"layers.1.self_attn.q_proj": 2, r"self_attn\.[qk]_proj": 7, r"^model\.layers\.0.*v_proj": 1},
        "alpha_pattern": {"up_proj": 1, r"model.layers.\d.self_attn.v_proj": 11},
    },
    "rank-stabilized patterns": {"use_rslora": True, "rank_pattern": {"v_proj": 9}, "alpha_pattern": {"q_proj": 3}},
    "fan_in_fan_out, which peft ignores": {"fan_in_fan_out": True, "target_modules": ["q_proj", "gate_proj"]},
    "DoRA": {"use_dora": True, "target_modules": "all-linear"},
    "rank-stabilized DoRA": {"use_dora": True, "use_rslora": True, "rank_pattern": {"q_proj": 2}},
    "a norm and a matrix as a whole": {"modules_to_save": ["layers.1.input_layernorm", "down_proj"]},
    "biases": {"bias": "lora_only"},
    "all biases": {"bias": "all", "target_modules": ["o_proj", "q_proj"]},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "random from the start": {"init_lora_weights": False},
}
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "embedding, fan_in_fan_out": {"target_modules": ["embed_tokens", "v_proj"], "fan_in_fan_out": True},
    "output": {"target_modules": ["q_proj", "lm_head"], "use_rslora": True},
    "output with DoRA": {"target_modules": ["q_proj", "lm_head"], "use_dora": True},
    "both": {"target_modules": ["embed_tokens", "lm_head"], "alpha_pattern": {"lm_head": 17}},
    "embedding as a whole": {"modules_to_save": ["embed_tokens"]},
    "output as a whole": {"modules_to_save": ["lm_head"]},
    "embedding adapted, output as a whole": {"target_modules": ["embed_tokens"], "modules_to_save": ["lm_head"]},
    "both as a whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "rows of the output": {"trainable_token_indices": {"lm_head": [0, 95]}, "target_modules": ["up_proj"]},
}
ROWS: dict[str, dict[str, Any]] = {
    "rows of the embedding": {"trainable_token_indices": [90, 3, 41]},
    "rows of both": {"trainable_token_indices": {"lm_head": [5], "embed_tokens": [6, 7]}},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_merge_is_that_of_peft(family: str, variant: str, tmp_path: Path) -> None:
    base = base_model(family, tmp_path)
    wrapped = wrap(base, **VARIANTS[variant])
    checkpoint = checkpoint_of(base, tmp_path)
    adapter = read_adapter(save(wrapped, tmp_path / "adapter"), checkpoint)
    found = merge_adapters(checkpoint, [adapter])
    assert found.config == checkpoint.config
    assert_same(found, unloaded(wrapped))
    changed = {name for name in found.tensors if found.tensors[name] is not checkpoint.tensors[name]}
    assert changed == adapter.deltas.keys() | adapter.replaced.keys() != set()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("variant", EMBEDDINGS | ROWS)
def test_a_merge_into_embedding_and_output_is_that_of_peft(family: str, variant: str, tmp_path: Path) -> None:
    base = base_model(family, tmp_path)
    wrapped = wrap(base, **(EMBEDDINGS | ROWS)[variant])
    checkpoint = checkpoint_of(base, tmp_path)
    found = merge_adapters(checkpoint, [read_adapter(save(wrapped, tmp_path / "adapter"), checkpoint)])
    assert_same(found, unloaded(wrapped))


@pytest.mark.parametrize("family", ["llama, tied", "qwen2, tied"])
@pytest.mark.parametrize("variant", EMBEDDINGS)
def test_tied_embeddings_compute_what_was_trained(family: str, variant: str, tmp_path: Path) -> None:
    """Not what peft merges: that changes the output with the embedding, which the adapter was not trained for."""
    base = base_model(family, tmp_path)
    wrapped = wrap(base, **EMBEDDINGS[variant])
    checkpoint = checkpoint_of(base, tmp_path)
    found = merge_adapters(checkpoint, [read_adapter(save(wrapped, tmp_path / "adapter"), checkpoint)])
    assert not found.config.tied
    expected = logits(wrapped)
    assert (run(found) - expected).abs().max() < 1e-4
    assert (logits(base) - expected).abs().max() > 1e-2
    if "whole" not in variant and "rows" not in variant:
        assert (logits(unloaded(wrapped)) - expected).abs().max() > 1e-2  # else there would be nothing to do


@pytest.mark.parametrize(
    "kind", [{"target_modules": ["embed_tokens", "q_proj"]}, {"modules_to_save": ["embed_tokens"]}]
)
def test_tied_embeddings_that_were_adapted_alike_stay_tied(kind: dict[str, Any], tmp_path: Path) -> None:
    base = base_model("llama, tied", tmp_path)
    wrapped = wrap(base, ensure_weight_tying=True, **kind)
    checkpoint = checkpoint_of(base, tmp_path)
    adapter = read_adapter(save(wrapped, tmp_path / "adapter"), checkpoint)
    assert {EMBEDDING, OUTPUT} <= adapter.deltas.keys() | adapter.replaced.keys()
    found = merge_adapters(checkpoint, [adapter])
    assert found.config == checkpoint.config
    assert OUTPUT not in found.tensors
    assert (run(found) - logits(wrapped)).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["llama, tied", "qwen2, tied"])
def test_rows_of_tied_embeddings_are_replaced_in_both(family: str, tmp_path: Path) -> None:
    base = base_model(family, tmp_path)
    wrapped = wrap(base, trainable_token_indices=[90, 3, 41])
    checkpoint = checkpoint_of(base, tmp_path)
    found = merge_adapters(checkpoint, [read_adapter(save(wrapped, tmp_path / "adapter"), checkpoint)])
    assert found.config == checkpoint.config
    assert (run(found) - logits(wrapped)).abs().max() < 1e-4
    before, after = checkpoint.tensors[EMBEDDING].read_all(), found.tensors[EMBEDDING].read_all()
    assert np.flatnonzero((before != after).any(axis=1)).tolist() == [3, 41, 90]


def test_several_adapters_are_their_weighted_sum(tmp_path: Path) -> None:
    base = base_model("qwen2", tmp_path)
    checkpoint = checkpoint_of(base, tmp_path)
    wrapped = wrap(base, target_modules="all-linear")
    weights = {"default": 0.75, "second": -0.5, "third": 1.25}
    more: dict[str, dict[str, Any]] = {
        "second": {"r": 2, "use_rslora": True},
        "third": {"r": 7, "lora_alpha": 3, "target_modules": Q_V},
    }
    for seed, (name, extra) in enumerate(more.items()):
        wrapped.add_adapter(name, peft.LoraConfig(**{"lora_alpha": 6, "target_modules": "all-linear", **extra}))
        generator = torch.Generator().manual_seed(seed)
        for key, parameter in wrapped.named_parameters():
            if f".{name}." in key:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    save(wrapped, tmp_path / "adapters")
    folders = [tmp_path / "adapters", tmp_path / "adapters" / "second", tmp_path / "adapters" / "third"]
    adapters = [read_adapter(f, checkpoint, weight=w) for f, w in zip(folders, weights.values(), strict=True)]
    found = merge_adapters(checkpoint, adapters)

    for module in wrapped.modules():  # for each layer, "cat" of those adapters that it has
        if isinstance(module, peft.tuners.lora.Linear):
            present = [name for name in weights if name in module.lora_A]
            for name in present:
                cast("torch.Tensor", module.get_base_layer().weight).data += weights[name] * module.get_delta_weight(
                    name
                )
    state = wrapped.unload().state_dict()
    for name, tensor in found.tensors.items():
        assert np.abs(tensor.read_all() - state[name].numpy()).max() <= 1e-6, name


def test_two_adapters_are_what_peft_calls_cat(tmp_path: Path) -> None:
    base = base_model("llama", tmp_path)
    checkpoint = checkpoint_of(base, tmp_path)
    folders = [save(wrap(base, seed=seed, r=2 + seed), tmp_path / str(seed)) for seed in (1, 2)]
    with quiet():
        wrapped = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(folders[0]), adapter_name="one")
        wrapped.load_adapter(str(folders[1]), "two")
        wrapped.add_weighted_adapter(["one", "two"], [0.3, 1.5], "both", combination_type="cat")
    wrapped.set_adapter("both")
    found = merge_adapters(
        checkpoint,
        [read_adapter(f, checkpoint, weight=w) for f, w in zip(folders, (0.3, 1.5), strict=True)],
    )
    assert_same(found, unloaded(wrapped))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_adapters_of_half_precision_are_merged_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    base = base_model("llama", tmp_path)
    wrapped = wrap(base, dtype=dtype)  # numbers that the type holds exactly, computed with in float32
    checkpoint = checkpoint_of(base, tmp_path)
    expected = copy.deepcopy(wrapped)
    adapter = read_adapter(save(wrapped.to(dtype), tmp_path / "adapter"), checkpoint)
    stored = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    assert {torch.float16: b'"F16"', torch.bfloat16: b'"BF16"'}[dtype] in stored
    assert_same(merge_adapters(checkpoint, [adapter]), unloaded(expected))


@pytest.mark.parametrize("variant", ["plain", "DoRA", "a norm and a matrix as a whole", "rows of both"])
def test_rows_are_computed_alone(variant: str, tmp_path: Path) -> None:
    base = base_model("llama", tmp_path)
    checkpoint = checkpoint_of(base, tmp_path)
    folder = save(wrap(base, **(VARIANTS | ROWS)[variant]), tmp_path / "adapter")
    found = merge_adapters(checkpoint, [read_adapter(folder, checkpoint)])
    for name, tensor in found.tensors.items():
        whole = tensor.read_all()
        for rows in (slice(3, 9), slice(5, 5), np.array([7, 0, 0, 20])):
            part = tensor.read(rows)
            assert part.dtype == np.float32
            assert np.allclose(part, whole[rows], rtol=0, atol=1e-7), name
        whole[:] = 0
        assert tensor.read_all().any(), name


def adapters(base: torch.nn.Module, checkpoint: Checkpoint, folder: Path, *settings: dict[str, Any]) -> list[Adapter]:
    folders = [save(wrap(base, seed=i, **one), folder / f"adapter-{i}") for i, one in enumerate(settings)]
    return [read_adapter(one, checkpoint) for one in folders]


def test_adapters_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    base = base_model("llama", tmp_path)
    checkpoint = checkpoint_of(base, tmp_path)
    settings = ({"modules_to_save": ["down_proj"]}, {"use_dora": True}, {"target_modules": ["down_proj", "v_proj"]})
    whole, dora, plain = adapters(base, checkpoint, tmp_path, *settings)
    with pytest.raises(ModelInvalidError) as caught:
        merge_adapters(checkpoint, [whole, dora, plain])
    for layer in (0, 1):
        assert (
            f"layers.{layer}.mlp.down_proj.weight is replaced by one adapter and changed by another"
            in caught.value.message
        )
        assert f"layers.{layer}.self_attn.v_proj.weight is changed by several adapters, one" in caught.value.message
    dora_elsewhere = adapters(base, checkpoint, tmp_path / "b", {"use_dora": True, "target_modules": ["o_proj"]})
    merge_adapters(checkpoint, [*dora_elsewhere, plain])
    rows = ({"trainable_token_indices": [1]}, {"trainable_token_indices": [2]}, {"modules_to_save": ["embed_tokens"]})
    for two in itertools.combinations(adapters(base, checkpoint, tmp_path / "c", *rows), 2):
        with pytest.raises(
            ModelInvalidError, match=r"embed_tokens\.weight is replaced by one adapter and changed by another"
        ):
            merge_adapters(checkpoint, two)
    with pytest.raises(
        ModelInvalidError, match=r"replaces model\.embed_tokens\.weight, which the weight 0\.5 cannot scale"
    ):
        merge_adapters(checkpoint, [read_adapter(tmp_path / "c" / "adapter-0", checkpoint, weight=0.5)])


@pytest.mark.parametrize(
    "settings",
    [{}, {"target_modules": ["embed_tokens", "q_proj"]}, {"modules_to_save": ["lm_head"]}, {"use_dora": True}],
)
@pytest.mark.parametrize("family", ["llama", "llama, tied"])
def test_an_adapter_that_changes_nothing_is_refused(settings: dict[str, Any], family: str, tmp_path: Path) -> None:
    base = base_model(family, tmp_path)
    checkpoint = checkpoint_of(base, tmp_path)
    settings = {"r": 4, "target_modules": Q_V, **settings}
    with quiet():
        untrained = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**settings))
    adapter = read_adapter(save(untrained, tmp_path / "adapter"), checkpoint)
    with pytest.raises(ModelInvalidError, match="changes nothing"):
        merge_adapters(checkpoint, [adapter])


def test_copies_of_embeddings_are_no_part_of_an_adapter(tmp_path: Path) -> None:
    base = base_model("llama", tmp_path)
    checkpoint = checkpoint_of(base, tmp_path)
    folder = save(wrap(base, target_modules=["embed_tokens", "q_proj"]), tmp_path / "adapter")
    adapter = read_adapter(folder, checkpoint, weight=0.5)
    assert adapter.replaced.keys() == {EMBEDDING}
    assert drop_copies(adapter, checkpoint).replaced == {}
    merge_adapters(checkpoint, [adapter])

    other = checkpoint_of(base_model("qwen2", tmp_path / "other"), tmp_path / "other")
    moved = Checkpoint(tmp_path, checkpoint.config, checkpoint.tokenizer, other.tensors, ())
    with pytest.raises(
        ModelInvalidError, match=r"replaces model.embed_tokens.weight, which the weight 0.5 cannot scale"
    ):
        merge_adapters(moved, [adapter])
    assert np.array_equal(
        merge_adapters(moved, [read_adapter(folder, checkpoint)]).tensors[EMBEDDING].read_all(),
        merge_adapters(checkpoint, [read_adapter(folder, checkpoint)]).tensors[EMBEDDING].read_all(),
    )


def test_no_adapter_is_no_change(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(base_model("llama, tied", tmp_path), tmp_path)
    found = merge_adapters(checkpoint, [])
    assert found.config == checkpoint.config
    assert found.tensors == checkpoint.tensors
