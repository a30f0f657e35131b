"""Adapters with everything that can be packed, and what a packed file means, read without our code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.types import Checkpoint

PREFIX = "base_model.model."
ROWS = f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta"
DOWN = f"{PREFIX}model.layers.0.mlp.down_proj.weight"
TOKENS = [250, 5, 17, 101, 4]
RANK = 2
RECORD = {"score_kind": "catalog", "prompt": "titles-1", "history": 3}


def write_adapter(folder: Path, base: Checkpoint, *, seed: int = 0) -> Path:
    """Write what training writes: A and B of the queries, whole matrices and norms, rows of tokens, in half floats."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any]] = {}
    for name, tensor in base.tensors.items():
        if "q_proj.weight" in name:
            rows, columns = tensor.shape
            module = f"{PREFIX}{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_A.weight"] = rng.normal(size=(RANK, columns))
            tensors[f"{module}.lora_B.weight"] = rng.normal(size=(rows, RANK)) / 10
        elif name.endswith(("down_proj.weight", "norm.weight")):
            tensors[f"{PREFIX}{name}"] = tensor.read_all() + rng.normal(0, 0.05, tensor.shape)
    rows_of_tokens = base.tensors["model.embed_tokens.weight"].read(np.array(TOKENS))
    tensors[ROWS] = rows_of_tokens + rng.normal(0, 0.05, rows_of_tokens.shape)
    folder.mkdir(parents=True)
    halves = {name: values.astype(np.float16) for name, values in tensors.items()}
    save_file(halves, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"]}
    settings |= {"modules_to_save": ["down_proj", "norm"], "trainable_token_indices": {"embed_tokens": TOKENS}}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "genrec_edge.json").write_text(json.dumps(RECORD))
    return folder


def differences_in(path: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the differences in a packed file by the names of PEFT, and the half of each value's scale."""
    stored = load_file(path)
    return {
        key.removesuffix(".delta"): by_hand(stored[key], stored[f"{key}_scale"])
        for key in stored
        if key.endswith(".delta")
    }


def by_hand(steps: NDArray[Any], scales: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps times the scale of their 32 columns, and half of that scale, one value after the other."""
    differences, halves = np.zeros(steps.shape), np.zeros(steps.shape)
    for row, column in np.ndindex(steps.shape):
        scale = float(scales[row, column // 32])
        differences[row, column] = int(steps[row, column]) * scale
        halves[row, column] = scale / 2
    return differences, halves


def rewrite(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write a packed file again with some tensors changed (those without elements left out) and other metadata."""
    header = path.read_bytes()
    found = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    kept = {name: values for name, values in {**load_file(path), **tensors}.items() if values.size}
    save_file(kept, path, dict(found if metadata is None else metadata))
