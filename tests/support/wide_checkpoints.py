"""Checkpoints of two layers whose rows do and do not divide into the blocks of quantized types."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.tensor_names import expected_shapes
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.tokenizer.types import UNUSED, padding_token

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.config import ModelConfig


def random_checkpoint(base: Checkpoint, config: ModelConfig) -> Checkpoint:
    """Return random weights of a config, with the tokenizer of `base` filled up to its vocabulary."""
    rng = np.random.default_rng(0)

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        values = rng.normal(0, 0.1, shape).astype(np.float32)
        return Tensor(name, shape, "F32", lambda rows: values[rows].copy())

    tokenizer = base.tokenizer
    more = range(len(tokenizer.tokens), config.vocab_size)
    tokenizer = replace(
        tokenizer,
        tokens=(*tokenizer.tokens, *map(padding_token, more)),
        types=(*tokenizer.types, *[UNUSED] * len(more)),
    )
    tensors = {name: tensor(name, shape) for name, shape in expected_shapes(config).items()}
    return replace(base, config=config, tokenizer=tokenizer, tensors=tensors)


def write_f16(checkpoint: Checkpoint, path: Path) -> Path:
    with path.open("wb") as file:
        write_gguf(checkpoint, file, {})
    return path


SMOLLM2 = {"hidden_size": 576, "ffn_size": 1536, "n_heads": 9, "n_kv_heads": 3, "head_size": 64, "vocab_size": 3300}
# name: what the config has; rows of 576 and 896 are no multiple of 256, and the quantizer falls back.
WIDTHS: dict[str, dict[str, Any]] = {
    "SmolLM2's rows": SMOLLM2,
    "multiples of 256": {"hidden_size": 256, "ffn_size": 768, "n_heads": 4, "n_kv_heads": 2, "head_size": 64},
    "an output of its own": {**SMOLLM2, "hidden_size": 512, "n_heads": 8, "n_kv_heads": 1, "tied": False},
    "no multiples of 32": {"hidden_size": 144, "ffn_size": 400, "n_heads": 4, "n_kv_heads": 4, "head_size": 36},
}


@pytest.fixture(scope="session")
def wide_checkpoints(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Checkpoint, Path]]:
    """Returns a checkpoint of two layers for each of WIDTHS, and its F16 file."""
    folder = tmp_path_factory.mktemp("wide")
    base = read_gguf(tiny_llama)
    made = {}
    for i, (width, changes) in enumerate(WIDTHS.items()):
        checkpoint = random_checkpoint(base, replace(base.config, **changes))
        made[width] = checkpoint, write_f16(checkpoint, folder / f"{i}.gguf")
    return made
