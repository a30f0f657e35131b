"""The metadata of a converted file, and of a file converted from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gguf
import pytest

from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.convert.pipeline.training_record import training_record
from tests.support.training_records import RECORD, adapter_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint
    from genrec_edge.convert.lora.peft_reader import Adapter

    Write = Callable[..., Path]


@pytest.fixture
def checkpoint(tiny_llama: Path) -> Checkpoint:
    return read_gguf(tiny_llama)


def written(checkpoint: Checkpoint, adapters: list[Adapter], path: Path) -> dict[str, Any]:
    """Write a file and return what the gguf package reads of it."""
    with path.open("wb") as file:
        write_gguf(checkpoint, file, model_metadata(checkpoint, adapters, "films", "MIT"))
    return {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}


def test_a_file_says_what_it_is_made_of_and_the_next_file_still_does(checkpoint: Checkpoint, tmp_path: Path) -> None:
    adapters = [adapter_at(tmp_path / "first", {"seed": 1}), adapter_at(tmp_path / "second", RECORD, 0.5)]
    layers = replace(checkpoint.config, layers=(0, 2), n_original_layers=4)
    found = written(replace(checkpoint, config=layers), adapters, tmp_path / "model.gguf")
    assert found["general.name"] == found["general.basename"] == "films"
    assert found["general.license"] == "MIT"
    assert found["general.version"] == "v1.0"
    assert found["general.size_label"] == "27K"
    assert found["general.base_model.count"] == 1
    assert found["general.base_model.0.name"] == "tiny"
    assert found["general.quantized_by"].startswith("genrec-edge ")
    assert found["genrec_edge.layers"] == "0,2"
    assert found["genrec_edge.layers_of"] == 4
    assert found["genrec_edge.adapter_count"] == 2
    assert [found[f"genrec_edge.adapter.{i}.name"] for i in (0, 1)] == ["first", "second"]
    assert [found[f"genrec_edge.adapter.{i}.weight"] for i in (0, 1)] == [1.0, 0.5]
    # Of two records the last one's: it was trained on what the first one left.
    assert {key: found[f"genrec_edge.train.{key}"] for key in RECORD} == RECORD

    again = read_gguf(tmp_path / "model.gguf")
    assert training_record(again, []) == RECORD
    assert training_record(again, [adapter_at(tmp_path / "silent")]) == RECORD
    assert training_record(again, [adapter_at(tmp_path / "third", {"seed": 2})]) == {"seed": 2}
    carried = written(again, [], tmp_path / "next.gguf")
    assert {key: carried[f"genrec_edge.train.{key}"] for key in RECORD} == RECORD
    assert (carried["genrec_edge.layers"], carried["genrec_edge.layers_of"]) == ("0,2", 4)
    assert carried["general.base_model.0.name"] == "films"
