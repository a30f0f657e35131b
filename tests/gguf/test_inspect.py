"""A GGUF file described as JSON: everything that its header says, whether it can be run or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.inspect import describe_header
from tests.support.gguf_files import NOT_RUNNABLE, write_small_adapter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def describe(path: Path) -> dict[str, Any]:
    return describe_header(read_header(path))


def test_a_description_holds_everything_the_gguf_package_reads(described_gguf: Path) -> None:
    document = describe(described_gguf)
    reader = pytest.importorskip("gguf").GGUFReader(described_gguf)
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert document["metadata"].keys() == fields.keys()
    for key, value in document["metadata"].items():
        if isinstance(value, dict):
            assert value["count"] == len(fields[key].data) > 64
        else:
            assert value == fields[key].contents(), key
    assert document["tensors"] == [
        {
            "name": t.name,
            "shape": t.shape.tolist(),
            "type": t.tensor_type.name,
            "offset": t.data_offset,
            "bytes": t.n_bytes,
        }
        for t in reader.tensors
    ]
    assert document["n_params"] == sum(int(t.n_elements) for t in reader.tensors)
    assert sum(entry["bytes"] for entry in document["types"]) == sum(t.n_bytes for t in reader.tensors)
    assert sum(entry["share"] for entry in document["types"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    NOT_RUNNABLE,
)
def test_what_does_not_run_is_described_all_the_same(
    tmp_path: Path, tiny_gguf: Callable[..., Path], options: dict[str, Any], kind: str, why: str
) -> None:
    document = describe(tiny_gguf(tmp_path / "a.gguf", **options))
    assert (document["kind"], document["runs"], document["why_not"]) == (kind, False, why)


def test_an_adapter_has_ranks_alpha_and_targets(tmp_path: Path) -> None:
    path = write_small_adapter(tmp_path / "a.gguf")
    assert describe(path)["adapter"] == {
        "type": "lora",
        "alpha": 16.0,
        "ranks": [4, 8],
        "matrices": 3,
        "targets": ["attn_q", "output"],
        "problems": [],
    }


@pytest.mark.model
def test_the_real_model_is_described(smollm2: Path) -> None:
    document = describe(smollm2)
    assert (document["kind"], document["runs"], document["file_type"]) == ("model", True, "Q8_0")
    assert (document["n_params"], document["model"]["layers"], document["model"]["width"]) == (134_515_008, 30, 576)
    assert document["tokenizer"]["n_tokens"] == 49_152
    assert [entry["type"] for entry in document["types"]] == ["Q8_0", "F32"]
