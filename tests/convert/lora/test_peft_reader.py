"""Reading a PEFT folder: what is refused, and that one error lists all problems."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.convert.lora.peft_reader import read_adapter
from genrec_edge.errors import ModelInvalidError, UsageError
from tests.support.peft_folders import FIRST_A, LAYER, MODEL, NONE, Q_PROJ, refusal, write_peft

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_an_adapter_is_read(tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "a", {"alpha_pattern": {"layers.1.self_attn.q_proj": 2}})
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
    folder = write_peft(tmp_path / "a", None, {**dict.fromkeys(Q_PROJ, NONE), **old})
    assert len(read_adapter(folder, MODEL).deltas) == 2


@pytest.mark.parametrize("parts", ["empty", "flat and empty", "half of the modules"])
def test_an_adapter_saved_in_parts_is_named_as_that(parts: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = dict.fromkeys(Q_PROJ, np.zeros((0, 64) if parts == "empty" else (0,), np.float32))
    if parts == "half of the modules":
        changes = {name: NONE for name in Q_PROJ if "layers.1." in name}
    folder = write_peft(tmp_path / "a", None, changes)
    with pytest.raises(ModelInvalidError, match=r"holds no numbers|has no A and B") as error:
        read_adapter(folder, MODEL)
    assert "DeepSpeed ZeRO-3" in error.value.hint
    assert "gather its weights" in error.value.hint


def test_everything_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    nan = np.full((4, 64), math.nan, np.float32)
    prefix = "base_model.model.model."
    folder = write_peft(
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
        (
            [1, 96],
            {"model.embed_tokens": 2},
            "trainable_token_indices has 96, and model.embed_tokens.weight has 96 rows",
        ),
        ([1, 2], {"model.embed_tokens": 3}, "trainable_tokens_delta' has the shape (3, 64), not (2, 64)"),
        ([1, 2], {}, "'embed_tokens' of trainable_token_indices has no tensor"),
        (
            [1],
            {"model.embed_tokens": 1, "lm_head": 1},
            "lm_head.token_adapter.trainable_tokens_delta' does not belong to a",
        ),
        ({"q_proj": [1]}, {"model.layers.0.self_attn.q_proj": 1}, "neither the embedding nor the output matrix"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tokens: Any, tensors: dict[str, int], finding: str, tmp_path: Path) -> None:
    rows = {ROWS.format(module): np.ones((n, 64), np.float32) for module, n in tensors.items()}
    assert finding in refusal(write_peft(tmp_path / "a", {"trainable_token_indices": tokens}, rows))


def test_a_resized_vocabulary_is_named(tmp_path: Path) -> None:
    folder = write_peft(
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
    folder = write_peft(
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
    folder = write_peft(tmp_path / "a", {"target_modules": ".*q_proj"}, dict.fromkeys(Q_PROJ, NONE))
    assert refusal(folder).endswith("it has no tensors")


def test_what_is_not_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        read_adapter(tmp_path / "missing", MODEL)
    with pytest.raises(ModelInvalidError, match=r"has no adapter_model\.safetensors"):
        read_adapter(tmp_path, MODEL)
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelInvalidError, match="as pickle") as caught:
        read_adapter(tmp_path, MODEL)
    assert "safetensors" in caught.value.hint
    folder = write_peft(tmp_path / "a")
    for weight in (0, math.nan, math.inf):
        with pytest.raises(UsageError, match="must not be 0"):
            read_adapter(folder, MODEL, weight=weight)
    (folder / "adapter_config.json").unlink()
    assert "adapter_config.json cannot be read" in refusal(folder)
    (folder / "adapter_config.json").write_text("[" * 100_000)
    assert "is not JSON" in refusal(folder)


def test_dora_has_no_weight(tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "a", {"use_dora": True})
    with pytest.raises(UsageError, match="DoRA"):
        read_adapter(folder, MODEL, weight=2)
    assert "q_proj has no lora_magnitude_vector" in refusal(folder)
