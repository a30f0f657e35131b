"""Names, shapes and row orders of every family, against transformers, torch and the gguf package."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import gguf
import numpy as np
import pytest
import torch
import transformers

from genrec_edge.convert.checkpoint.tensor_names import expected_shapes, gguf_name, row_order
from tests.support.model_configs import MODELS, config_of, hf_config

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow


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
