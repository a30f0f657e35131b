"""Adapters that are trained further."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from genrec_edge.convert.pipeline.pack import pack_adapter
from genrec_edge.convert.training.loop import train
from genrec_edge.convert.training.recipe import FORM_NAMES
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import sha256_file
from tests.support.packed_adapters import differences_in
from tests.support.training_runs import changed, curve, job, weights

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


FORMS = dict.fromkeys(FORM_NAMES, 1.0)


def test_all_forms_are_learned_together_and_the_adapter_is_trained_further(
    facts_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """The second run starts with the weights of the first, and `run.json` has their hash."""
    document = changed(prompt="forms-1", forms=FORMS, objective={"distill": 0.5}, optimizer={"epochs": 2})
    first = train(job(facts_data, tiny_base, tmp_path / "first", document))
    losses = curve(first)
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.5
    record = json.loads((first.out / "genrec_edge.json").read_text())
    assert record["prompt"] == "forms-1"
    continued = changed(
        prompt="forms-1", forms=FORMS, optimizer={"lr": 1e-9, "epochs": 0.05}, base={"adapter": str(first.out)}
    )
    second = train(job(facts_data, tiny_base, tmp_path / "second", continued))
    assert weights(second.out).keys() == weights(first.out).keys()
    for name, tensor in weights(first.out).items():
        torch.testing.assert_close(weights(second.out)[name], tensor, rtol=0, atol=1e-3)
    run = json.loads((second.out / "run.json").read_text())
    assert run["from"] == sha256_file(first.out / "adapter_model.safetensors", lambda _n: None)
    other = changed(base={"adapter": str(first.out)}, lora={"r": 4})
    with pytest.raises(UsageError, match="does not have the shape of the model that is trained: base_model"):
        train(job(facts_data, tiny_base, tmp_path / "other", other))
    nowhere = changed(base={"adapter": str(tmp_path / "nowhere")})
    with pytest.raises(UsageError, match="nowhere"):
        train(job(facts_data, tiny_base, tmp_path / "nothing", nowhere))


def test_an_adapter_that_was_packed_and_unpacked_is_trained_further(
    cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Whole matrices and rows of tokens begin within half a step of where the first run ended."""
    first = train(job(cycle_data, tiny_base, tmp_path / "first", changed(lora={"whole": ["down_proj", "norm"]})))
    packed = pack_adapter(first.out, tiny_base, tmp_path / "packed")
    halves = {key: half for key, (_, half) in differences_in(packed).items()}
    assert {key.rpartition(".")[2] for key in halves} == {"weight", "trainable_tokens_delta"}
    pack_adapter(packed.parent, tiny_base, tmp_path / "unpacked", unpack=True)
    continued = changed(
        lora={"whole": ["down_proj", "norm"]},
        optimizer={"lr": 1e-9, "epochs": 0.05},
        base={"adapter": str(tmp_path / "unpacked")},
    )
    second = train(job(cycle_data, tiny_base, tmp_path / "second", continued))
    assert weights(second.out).keys() == weights(first.out).keys()
    for key, tensor in weights(first.out).items():
        allowed = 1e-3 + halves.get(key, np.zeros(1))
        assert (np.abs(weights(second.out)[key].numpy().astype(float) - tensor.numpy()) <= allowed).all(), key
