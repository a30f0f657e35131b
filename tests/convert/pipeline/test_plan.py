"""The plan of a conversion: steps, names, notes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.layers import keep_layers
from genrec_edge.convert.lora.merge import merge_adapters
from genrec_edge.convert.lora.peft_reader import Adapter, Delta
from genrec_edge.convert.pipeline.plan import ConversionJob, check_quants, make_plan, merge_notes, store_names
from genrec_edge.convert.quantization.quantize import quantize_file
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path


def job_of(base: Path, tmp_path: Path, **changes: Any) -> ConversionJob:
    options = {"quants": ("Q8_0", "Q4_0"), "catalog": None, "verify": "none", "n_threads": 1, **changes}
    return ConversionJob(base=base, out=tmp_path / "out", name="small", licence="MIT", **options)


def test_a_plan_lists_what_will_be_done(tiny_llama: Path, tmp_path: Path) -> None:
    job = job_of(tiny_llama, tmp_path, imatrix=tmp_path / "c.db", verify="quick", layers=(0,), keep_checkpoint=True)
    checkpoint = keep_layers(read_gguf(tiny_llama), (0,))
    plan = make_plan(job, checkpoint, (), copies=True, notes=("a note",))
    assert [(step.what, step.target) for step in plan.steps] == [
        ("write", f"small-18K-v1.0-F16.gguf from {tiny_llama}"),
        ("write", "checkpoint/ for transformers"),
        ("importance", f"of weights for the prompts of {tmp_path / 'c.db'}"),
        ("quantize", "small-18K-v1.0-Q8_0.gguf"),
        ("quantize", "small-18K-v1.0-Q4_0.gguf"),
        ("verify", "tokenizer, logits, recommendations"),
        ("remove", "small-18K-v1.0-F16.gguf"),
        ("install", "small, small-q4_0"),
    ]
    assert plan.files == {quant: f"small-18K-v1.0-{quant}.gguf" for quant in ("F16", "Q8_0", "Q4_0")}
    assert plan.peak_disk_bytes == sum(step.n_bytes for step in plan.steps if step.n_bytes > 0)
    assert len(plan.notes) == 1
    kept = replace(job, quants=("F16",), imatrix=None, verify="none", keep_checkpoint=False)
    plan = make_plan(kept, checkpoint, (), copies=False)
    assert [step.what for step in plan.steps] == ["write", "install"]
    assert plan.notes == ()
    assert store_names(job) == {"Q8_0": "small", "Q4_0": "small-q4_0"}


@pytest.mark.parametrize(
    ("quants", "found"),
    [
        ((), "at least one"),
        (("Q4_0", "Q4", "X"), "unknown file types: 'Q4', 'X'"),
        (("Q4_0", "Q8_0", "Q4_0"), "Q4_0 more than once"),
    ],
)
def test_file_types_that_do_not_exist_are_all_named(quants: tuple[str, ...], found: str) -> None:
    with pytest.raises(UsageError, match=found):
        check_quants(quants)


@pytest.mark.parametrize("type_of_base", ["Q8_0", "F16"])
def test_rounding_to_the_grid_of_the_base_undoes_small_changes(
    type_of_base: str, tiny_llama: Path, tmp_path: Path
) -> None:
    """What the note of a plan says, measured: how much of a change smaller than Q8_0's steps is left on average."""
    quantize_file(tiny_llama, tmp_path / "base.gguf", type_of_base)
    base, name = read_gguf(tmp_path / "base.gguf"), "model.layers.0.mlp.up_proj.weight"
    rng, (rows, columns) = np.random.default_rng(0), base.tensors[name].shape
    a, b = (rng.normal(0, 0.02, shape).astype(np.float32) for shape in ((4, columns), (rows, 4)))
    adapter = Adapter(tmp_path, "", 1.0, 4, 4.0, {name: Delta(a, b, 1.0)}, {}, {})
    with atomic_write(tmp_path / "f16.gguf") as file:
        write_gguf(merge_adapters(base, [adapter]), file, {})
    quantize_file(tmp_path / "f16.gguf", tmp_path / "merged.gguf", "Q8_0")
    quantize_file(tmp_path / "base.gguf", tmp_path / "plain.gguf", "Q8_0")
    before, after = (read_gguf(tmp_path / f).tensors[name].read_all() for f in ("plain.gguf", "merged.gguf"))
    change = b @ a
    left = float(((after - before) * change).sum() / (change * change).sum())
    notes = merge_notes(base, merge_adapters(base, [adapter]), ("Q4_0", "Q8_0"))
    if type_of_base == "Q8_0":
        assert abs(left) < 0.3
        assert [note for note in notes if "are Q8_0 already: rounded to Q8_0 again" in note] == list(notes) != []
    else:
        assert abs(left - 1) < 0.3
        assert notes == ()
