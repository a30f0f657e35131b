"""Models of every family from a folder to a GGUF and back: the logits of transformers, and the same bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers

from genrec_edge.convert.checkpoint.config_hf import read_config
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.gguf.header import read_header
from tests.support.random_models import FAMILIES, random_model, to_gguf

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow


def logits(path: Path, token_ids: list[int]) -> NDArray[np.float32]:
    forward = FullLogitsModel(Model(path), n_ctx=256, n_threads=2)
    try:
        return forward.logits(token_ids)
    finally:
        forward.close()


def assert_agree(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert np.abs(found - expected).max() < 5e-2
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.995


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_those_of_transformers(family: str, tmp_path: Path, llama_vocabs: Path) -> None:
    model = random_model(family, tmp_path / "hf", llama_vocabs)
    token_ids = np.random.default_rng(0).integers(0, model.config.vocab_size, 200).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([token_ids])).logits[0].numpy()
    path = to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    assert_agree(logits(path, token_ids), expected)

    # And back: the same folder, as far as numbers go, and out of it the same bytes.
    write_folder(read_gguf(path), tmp_path / "back", "F16")
    again: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back", dtype=torch.float32)
    with torch.no_grad():
        assert_agree(again(torch.tensor([token_ids])).logits[0].numpy(), expected)
    back = to_gguf(tmp_path / "back", tmp_path / "back.gguf")
    if family != "mistral":  # which a GGUF calls a LLaMA, whose bytes are the same
        assert replace(read_config(tmp_path / "hf")) == read_config(tmp_path / "back")
    assert tensor_bytes(back) == tensor_bytes(path)


def tensor_bytes(path: Path) -> dict[str, bytes]:
    header = read_header(path)
    with path.open("rb") as file:
        found = {}
        for tensor in header.tensors:
            file.seek(tensor.offset)
            found[tensor.name] = file.read(tensor.n_bytes)
    return found
