"""Layers left out, against transformers, and how a shallow model records it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.convert.checkpoint.config_hf import read_config
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.checkpoint.layers import format_layers, keep_layers, parse_layers, recorded_layers
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import atomic_write
from tests.support.wide_checkpoints import write_f16

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@given(st.sets(st.integers(0, 300), min_size=1))
def test_layers_are_read_as_they_are_shown(chosen: set[int]) -> None:
    layers = tuple(sorted(chosen))
    assert parse_layers(format_layers(layers)) == layers
    assert parse_layers(",".join(map(str, layers))) == layers


@pytest.mark.parametrize(
    ("text", "layers"), [("0", (0,)), ("0-2", (0, 1, 2)), ("1-1,3", (1, 3)), (" 0 , 2-3 ", (0, 2, 3))]
)
def test_layers_that_are_named_well(text: str, layers: tuple[int, ...]) -> None:
    assert parse_layers(text) == layers


@pytest.mark.parametrize(
    "text", ["", ",", "a", "-1", "3-1", "1,1", "2,1", "0-3,3", "0-", "1.5", "0--2", "99999", "0,,1", "0;1"]
)
def test_layers_that_are_not_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="`layers`") as caught:
        parse_layers(text)
    assert "0-7,28,29" in caught.value.hint


def test_a_shallower_model_is_transformers_without_the_layers(tiny_llama: Path, tmp_path: Path) -> None:
    base = read_gguf(tiny_llama)
    torch.manual_seed(0)
    theirs: Any = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=base.config.vocab_size,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            architectures=["LlamaForCausalLM"],
        )
    )
    theirs.eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.1)
    theirs.config.save_pretrained(tmp_path)
    weights = {name: p.numpy() for name, p in theirs.state_dict().items()}

    def tensor(name: str) -> Tensor:
        return Tensor(name, weights[name].shape, "F32", lambda rows: weights[name][rows].copy())

    config = read_config(tmp_path)
    whole = replace(base, config=config, tensors={name: tensor(name) for name in expected_shapes(config)})
    kept = keep_layers(whole, (0, 2, 3))
    assert kept.config == replace(config, layers=(0, 2, 3))
    assert kept.config.n_original_layers == 5
    assert {name: tensor.shape for name, tensor in kept.tensors.items()} == expected_shapes(kept.config)
    assert all(tensor.name == name for name, tensor in kept.tensors.items())

    whole_model = copy.deepcopy(theirs)
    theirs.model.layers = torch.nn.ModuleList(theirs.model.layers[i] for i in (0, 2, 3))
    for i, layer in enumerate(theirs.model.layers):
        layer.self_attn.layer_idx = i
    token_ids = list(range(5, 60))
    with torch.no_grad():
        expected = theirs(torch.tensor([token_ids]), use_cache=False).logits[0].numpy()
    forward = FullLogitsModel(Model(write_f16(kept, tmp_path / "kept.gguf")), n_ctx=64, n_threads=1, f32_cache=True)
    found = forward.logits(token_ids)
    forward.close()
    assert np.abs(found - expected).max() < 1e-2 * np.ptp(expected)
    with torch.no_grad():
        all_layers = whole_model(torch.tensor([token_ids]), use_cache=False).logits[0].numpy()
    assert np.abs(all_layers - expected).max() > 1e-1 * np.ptp(expected)  # else every layer would do

    again = keep_layers(kept, (1, 2))  # of those that are left
    assert again.config.layers == (2, 3)
    assert np.array_equal(
        again.tensors["model.layers.1.mlp.up_proj.weight"].read_all(), weights["model.layers.3.mlp.up_proj.weight"]
    )
    with pytest.raises(UsageError, match=r"includes layer 3, and .* has layers 0 to 2"):
        keep_layers(kept, (0, 3))


def test_which_layers_are_kept_is_said_through_every_form(tiny_llama: Path, tmp_path: Path) -> None:
    """A shallow model keeps saying so as a folder, as a GGUF, and shortened again."""
    four = write_layers(tiny_llama, tmp_path / "hf")
    shallow = keep_layers(four, (1,))
    write_folder(shallow, tmp_path / "shallow", "F16")
    again = read_folder(tmp_path / "shallow")
    assert (again.config.layers, again.config.n_original_layers) == ((1,), 2)
    with atomic_write(tmp_path / "shallow.gguf") as file:
        write_gguf(again, file, model_metadata(again, [], "shallow", "MIT"))
    config = read_gguf(tmp_path / "shallow.gguf").config
    assert (config.layers, config.n_original_layers) == ((1,), 2)


def write_layers(path: Path, folder: Path) -> Checkpoint:
    write_folder(read_gguf(path), folder, "F16")
    return read_folder(folder)


@pytest.mark.parametrize(("text", "of"), [("0-1", 2), ("5", 3), ("2", 2), (7, 9), ("x", 9), ("2", "9"), (None, None)])
def test_claims_of_layers_that_do_not_fit_are_not_believed(text: object, of: object) -> None:
    assert recorded_layers(text, of, 1) == ((0,), 1)


def test_claims_of_layers_that_fit() -> None:
    assert recorded_layers("0-2,7", 9, 4) == ((0, 1, 2, 7), 9)
