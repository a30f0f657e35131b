"""A conversion against its plan: disk space used, and disk space missing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.pipeline import run
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.errors import DiskFullError
from genrec_edge.storage.folders import partial_path

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint

pytestmark = pytest.mark.slow


def job_of(base: Path, tmp_path: Path, **changes: Any) -> ConversionJob:
    options = {"quants": ("Q8_0", "Q4_0"), "catalog": None, "verify": "none", "n_threads": 1, **changes}
    return ConversionJob(base=base, out=tmp_path / "out", name="small", licence="MIT", **options)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"keep_f16": True, "keep_checkpoint": True},
        {"quants": ("F32", "Q4_K_M", "F16")},
        {"verify": "quick"},
        {"verify": "quick", "base": "folder"},
        {"verify": "quick", "base": "folder", "layers": (1,)},
    ],
)
def test_a_run_takes_no_more_room_than_planned(
    changes: dict[str, Any],
    wide_checkpoints: dict[str, tuple[Checkpoint, Path]],
    tricky_path: Path,
    tmp_path: Path,
    own_home: Path,
) -> None:
    checkpoint, base = wide_checkpoints["SmolLM2's rows"]
    changes = dict(changes)
    if changes.pop("base", ""):
        base = tmp_path / "base"
        write_folder(checkpoint, base, "F16")
    prepared = run.prepare(job_of(base, tmp_path, **{"catalog": tricky_path, **changes}))
    partial = partial_path(prepared.job.out)
    sizes = []

    def measure(_what: str, _done: int, _total: int) -> None:
        sizes.append(sum(path.stat().st_size for path in partial.rglob("*") if path.is_file()))

    run.convert(prepared, on_event=measure)
    # Every file is planned with 8 MiB for metadata, one of F32 as two of F16, which would hide the weights of these.
    written = [step for step in prepared.plan.steps if step.n_bytes > 0]
    copied = any(step.target.startswith("checkpoint/") for step in written) and not prepared.job.keep_checkpoint
    planned = prepared.plan.peak_disk_bytes - (len(written) + copied) * (8 << 20)
    assert max(sizes) - (1 << 20) <= planned <= 1.1 * max(sizes)


def test_too_little_room_is_said_before_anything_is_written(
    wide_checkpoints: dict[str, tuple[Checkpoint, Path]],
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = run.prepare(job_of(wide_checkpoints["multiples of 256"][1], tmp_path))
    needed = prepared.plan.peak_disk_bytes
    events: list[str] = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=needed))
    with pytest.raises(DiskFullError, match="no room"):
        run.convert(prepared, on_event=lambda what, *_: events.append(what))
    assert events == []
    assert [path.name for path in partial_path(prepared.job.out).iterdir()] == ["job.json"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=needed * 2))
    assert run.convert(prepared, resume=True).out.is_dir()
