"""What files say about themselves: names of the GGUF convention, licences, the record of the training."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest

from genrec_edge.convert.checkpoint.config_hf import config_document
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.lora.peft_reader import Adapter
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.convert.pipeline.naming import base_name, check_licence, check_name, file_name
from genrec_edge.convert.pipeline.training_record import training_record
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.training_keys import RECORD_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint

    Write = Callable[..., Path]

# Source: the pattern that docs/gguf.md of ggml gives for valid names.
CONVENTION = re.compile(
    r"^(?P<BaseName>[A-Za-z0-9\s]*(?:(?:-(?:(?:[A-Za-z\s][A-Za-z0-9\s]*)|(?:[0-9\s]*)))*))"
    r"-(?:(?P<SizeLabel>(?:\d+x)?(?:\d+\.)?\d+[A-Za-z](?:-[A-Za-z]+(\d+\.)?\d+[A-Za-z]+)?)"
    r"(?:-(?P<FineTune>[A-Za-z0-9\s-]+))?)?-(?:(?P<Version>v\d+(?:\.\d+)*))(?:-(?P<Encoding>(?!LoRA|vocab)[\w_]+))?"
    r"(?:-(?P<Type>LoRA|vocab))?(?:-(?P<Shard>\d{5}-of-\d{5}))?\.gguf$"
)


@pytest.mark.parametrize("name", ["films", "my-films-2", "A", "x" * 60])
@pytest.mark.parametrize(
    ("n_params", "label"), [(134_515_008, "135M"), (6_738_415_616, "6.7B"), (18_000, "18K"), (999, "1.0K")]
)
@pytest.mark.parametrize(("encoding", "kind"), [("Q4_K_M", None), ("IQ2_XXS", None), ("F32", "LoRA")])
def test_file_names_follow_the_convention(name: str, n_params: int, label: str, encoding: str, kind: str) -> None:
    check_name(name)
    match = CONVENTION.fullmatch(file_name(name, n_params, encoding, kind))
    assert match is not None
    found = {key: match[key] for key in ("BaseName", "SizeLabel", "Version", "Encoding", "Type")}
    assert found == {"BaseName": name, "SizeLabel": label, "Version": "v1.0", "Encoding": encoding, "Type": kind}


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "-a", "a-", "a--b", "a.b", "a/b", "..", "a_b", "\u00e4", "x" * 61, "a\n", "a\0"]
)
def test_names_that_no_file_could_have_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="`name`") as caught:
        check_name(name)
    assert "letters" in caught.value.hint


@pytest.mark.parametrize(
    "licence",
    [
        "Apache-2.0",
        "MIT",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "LicenseRef-llama2",
        "(MIT OR Apache-2.0)",
        "(MIT AND (Apache-2.0 OR BSD-3-Clause)) OR CC0-1.0",
        "GPL-2.0+",
    ],
)
def test_licences_that_are_spdx_expressions_pass(licence: str, tmp_path: Path) -> None:
    assert check_licence(licence, tmp_path) == licence


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "Apache 2.0",
        "MIT OR",
        "OR MIT",
        "(MIT",
        "MIT)",
        "MIT) OR (MIT",
        "MIT, Apache-2.0",
        "MIT or Apache-2.0",
        "\u00a9",
        "MIT\n",
        " MIT",
    ],
)
def test_other_licences_are_refused_with_an_example(licence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SPDX") as caught:
        check_licence(licence, tmp_path)
    assert "LicenseRef-llama2" in caught.value.hint


def test_without_a_licence_the_hint_is_what_the_base_claims(tiny_gguf: Write, tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "base.gguf", keys={"general.license": "apache-2.0"})
    with pytest.raises(UsageError, match="needs a licence") as caught:
        check_licence(None, path)
    assert caught.value.hint == "the base says apache-2.0"
    silent = tiny_gguf(tmp_path / "silent.gguf", keys={"general.license": 7})
    for base in (silent, tmp_path, tmp_path / "no-such"):
        with pytest.raises(UsageError) as caught:
            check_licence(None, base)
        assert "for example" in caught.value.hint


def folder_base(folder: Path, document: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
        ("my-model", "my-model"),
        ("/home/somebody/secret/llama", "folder"),
        ("C:\\Users\\somebody\\llama", "folder"),
        ("./llama", "folder"),
        ("a/b/c", "folder"),
        ("\ud800", "folder"),
        ("", "folder"),
        (7, "folder"),
        (None, "folder"),
    ],
)
def test_a_folder_is_called_what_the_hub_calls_it_or_what_it_is_called(
    named: object, name: str, tmp_path: Path
) -> None:
    assert base_name(folder_base(tmp_path / "folder", {"_name_or_path": named})) == name


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"general.name": "One", "general.basename": "two"}, "One"),
        ({"general.name": None, "general.basename": "two"}, "two"),
        ({"general.name": 3}, "file-Q8_0"),
        ({}, "file-Q8_0"),
        ({"general.name": "a\x1b[31m\nb"}, "a[31m b"),
    ],
)
def test_a_gguf_is_called_what_it_calls_itself(
    keys: dict[str, Any], name: str, tiny_gguf: Write, tmp_path: Path
) -> None:
    assert base_name(tiny_gguf(tmp_path / "file-Q8_0.gguf", keys=keys)) == name


def adapter_at(folder: Path, record: object = None, weight: float = 1.0) -> Adapter:
    folder.mkdir(exist_ok=True)
    if record is not None:
        (folder / RECORD_NAME).write_text(json.dumps(record))
    return Adapter(folder, "0" * 64, weight, 8, 16.0, {}, {}, {})


RECORD = {
    "data": "MovieLens",
    "seed": 4294967295,
    "split": "leave-last-out",
    "quality.hit@10": 0.25,
    "finished": True,
    "score_kind": "catalog",
}


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
    "a novel": "x" * 10_000,
}


@pytest.mark.parametrize("case", BAD)
def test_a_record_that_cannot_be_written_is_refused_by_name(case: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    adapter = adapter_at(tmp_path / "a", {"seed": 1, "odd": BAD[case], "worse": [2]})
    with pytest.raises(ModelInvalidError, match="has 'odd', 'worse': keys must be") as caught:
        training_record(checkpoint, [adapter])
    assert caught.value.hint


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
