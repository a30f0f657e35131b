"""Training records: carried over, and refused where a GGUF cannot hold them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest

from genrec_edge.convert.checkpoint.config_hf import config_document
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.convert.pipeline.training_record import training_record
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.items_met import MOST_ITEMS, to_text
from genrec_edge.gguf.training_keys import RECORD_NAME
from tests.support.training_records import RECORD, adapter_at, folder_base

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint


@pytest.fixture
def checkpoint(tiny_llama: Path) -> Checkpoint:
    return read_gguf(tiny_llama)


def test_the_record_of_a_folder_is_carried_over(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = folder_base(tmp_path / "base", config_document(checkpoint.config))
    assert training_record(replace(checkpoint, path=folder), []) == {}
    (folder / RECORD_NAME).write_text(json.dumps(RECORD))
    assert training_record(replace(checkpoint, path=folder), []) == RECORD


BAD: dict[str, Any] = {
    "a list": [1],
    "an object": {"x": 1},
    "null": None,
    "negative": -1,
    "beyond uint32": 1 << 32,
    "beyond float32": 1e300,
    "infinite": float("inf"),
    "nan": float("nan"),
    "no UTF-8": "\ud800",
}


@pytest.mark.parametrize("case", BAD)
def test_a_record_that_cannot_be_written_is_refused_by_name(case: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    adapter = adapter_at(tmp_path / "a", {"seed": 1, "odd": BAD[case], "worse": [2]})
    with pytest.raises(ModelInvalidError, match="has 'odd', 'worse': keys must be") as caught:
        training_record(checkpoint, [adapter])
    assert caught.value.hint


def test_a_record_may_list_the_items_that_were_met(checkpoint: Checkpoint, tmp_path: Path) -> None:
    most = to_text(range(MOST_ITEMS))
    assert training_record(checkpoint, [adapter_at(tmp_path / "a", {"items_met": most})]) == {"items_met": most}
    with pytest.raises(ModelInvalidError, match=r"has more than 1,048,576 bytes"):
        training_record(checkpoint, [adapter_at(tmp_path / "a", {"items_met": "x" * (1 << 20)})])


@pytest.mark.parametrize("key", ["", "A", "a b", "a.", ".a", "a\u00e4", "a\n", "1"])
def test_keys_of_a_record_are_keys_of_a_gguf(key: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError, match="keys must be"):
        training_record(checkpoint, [adapter_at(tmp_path / "a", {key: 1})])


@pytest.mark.parametrize("content", ["[1]", "{", "7", ""])
def test_a_record_that_is_none_is_refused(content: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    adapter = adapter_at(tmp_path / "a")
    (tmp_path / "a" / RECORD_NAME).write_text(content)
    with pytest.raises(ModelInvalidError, match=RECORD_NAME):
        training_record(checkpoint, [adapter])


def test_what_a_foreign_gguf_says_of_its_training_cannot_break_the_next_file(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint64("genrec_edge.train.large", 1 << 60)
    writer.add_int32("genrec_edge.train.negative", -1)
    writer.add_float64("genrec_edge.train.huge", 1e300)
    writer.add_string("genrec_edge.train.ODD KEY", "x")
    writer.add_array("genrec_edge.train.list", [1, 2])
    writer.add_string("genrec_edge.train.good", "kept")
    writer.add_tensor("x", np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_header(path).metadata["genrec_edge.train.negative"] == -1
    foreign = replace(checkpoint, path=path)
    assert training_record(foreign, []) == {"good": "kept"}
    write_gguf(foreign, io.BytesIO(), model_metadata(foreign, [], "films", "MIT"))
