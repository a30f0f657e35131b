"""Folders that appear whole: partial folders of jobs that can be resumed or not, and how they get into place."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import LockedError, UsageError
from genrec_edge.storage.folders import (
    install,
    locked_root,
    partial_folder,
    partial_path,
    remove_leftovers,
    remove_root,
    work_folder,
)
from genrec_edge.storage.locks import locked

if TYPE_CHECKING:
    from pathlib import Path

JOB = {"name": "films", "quants": ["Q8_0"], "layers": None}


@pytest.fixture
def out(tmp_path: Path, own_home: Path) -> Path:
    return tmp_path / "out"


def begin(out: Path, *names: str, job: dict[str, Any] = JOB) -> None:
    """Leave files behind as a killed run would."""
    with partial_folder(out, job, resume=False) as folder:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_second_process_is_told_to_wait(out: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom genrec_edge.storage.folders import partial_folder\n"
        "with partial_folder(Path(sys.argv[1]), {}, resume=False) as folder:\n"
        "    (folder / 'of-the-first').touch()\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", script, os.path.relpath(out, out.parent)],
        cwd=out.parent,  # another spelling of the same folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with (
            pytest.raises(LockedError, match=f"{out} is being written by another process .{first.pid}.") as caught,
            partial_folder(out, JOB, resume=False),
        ):
            pass
        assert "another `out`" in caught.value.hint
        assert names(partial_path(out)) == {"job.json", "of-the-first"}
        with partial_folder(out.with_name("other"), JOB, resume=False):  # which is not held
            pass
        first.kill()
        first.wait()
    with partial_folder(out, JOB, resume=False) as folder:  # the dead hold nothing
        assert names(folder) == {"job.json"}


def test_one_run_begins_with_nothing_and_another_where_the_first_one_was(out: Path) -> None:
    begin(out, "model.gguf", "merged/model.safetensors", ".model.gguf.1-2.part", "x.part")
    with partial_folder(out, JOB, resume=True) as folder:
        assert folder == partial_path(out)
        assert names(folder) == {"job.json", "model.gguf", "merged/model.safetensors"}
    with partial_folder(out, JOB, resume=False) as folder:
        assert names(folder) == {"job.json"}
    with partial_folder(out.with_name("new"), JOB, resume=True) as folder:  # nothing to resume is no error
        assert names(folder) == {"job.json"}


def test_the_same_job_is_the_same_in_whatever_order_and_type(out: Path) -> None:
    begin(out, "model.gguf")
    again = {"layers": None, "quants": ("Q8_0",), "name": "films"}
    with partial_folder(out, again, resume=True) as folder:
        assert "model.gguf" in names(folder)


def test_what_another_job_left_is_kept_until_somebody_begins_anew(out: Path) -> None:
    begin(out, "model.gguf")
    other = {**JOB, "quants": ["Q4_0"], "keep_f16": True}
    found = "another job: keep_f16, quants differ"
    with pytest.raises(UsageError, match=found) as caught, partial_folder(out, other, resume=True):
        pass
    assert "`resume`" in caught.value.hint
    assert "model.gguf" in names(partial_path(out))
    with partial_folder(out, other, resume=False) as folder:
        assert names(folder) == {"job.json"}
    with partial_folder(out, other, resume=True):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_a_damaged_record_is_another_job(content: bytes, out: Path) -> None:
    begin(out, "model.gguf")
    (partial_path(out) / "job.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"another job: [\w ,]+ differ"), partial_folder(out, JOB, resume=True):
        pass
    with partial_folder(out, JOB, resume=False) as folder:
        assert names(folder) == {"job.json"}


def test_an_error_leaves_the_folder_and_frees_the_lock(out: Path) -> None:
    def fail() -> None:
        with partial_folder(out, JOB, resume=False) as folder:
            (folder / "whole").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with partial_folder(out, JOB, resume=True) as folder:
        assert "whole" in names(folder)


@pytest.mark.parametrize("there", [False, True])
def test_the_result_is_what_is_kept_and_nothing_else(out: Path, there: bool) -> None:
    if there:
        out.mkdir()
    elsewhere = out.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    with partial_folder(out, JOB, resume=False) as folder:
        for name in ("model.gguf", "model-F16.gguf", "checkpoint/config.json", "merged/config.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)
        (folder / "link").symlink_to(elsewhere)
        install(folder, out, kept={"model.gguf", "checkpoint"})
    assert names(out) == {"model.gguf", "checkpoint/config.json"}
    assert not partial_path(out).exists()
    assert names(elsewhere) == {"file"}


def test_a_job_that_cannot_be_resumed_leaves_nothing_when_it_fails(out: Path) -> None:
    begin(out, "of-another-run")

    def fail() -> None:
        with partial_folder(out, None) as folder:
            assert names(folder) == set()
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not partial_path(out).exists()
    assert not out.exists()


def test_a_result_is_replaced_only_if_that_is_wanted(out: Path) -> None:
    out.mkdir()
    (out / "old").touch()
    with partial_folder(out, None) as folder:
        (folder / "new").touch()
        with pytest.raises(OSError, match="not empty"):
            install(folder, out)
        assert names(out) == {"old"}
        install(folder, out, replace=True)
    assert names(out) == {"new"}
    assert {path.name for path in out.parent.iterdir()} <= {"out", "home"}


def test_what_a_kill_after_the_replacement_left_goes_with_the_next_run(out: Path) -> None:
    leftover = out.with_name(".out.partial.replaced")
    leftover.mkdir()
    (leftover / "old").touch()
    with partial_folder(out, JOB):
        assert not leftover.exists()


def test_a_work_folder_is_inside_and_goes_with_what_it_holds(out: Path) -> None:
    with locked_root(out):
        (out / ".work-of-a-dead-writer").mkdir()
    with locked_root(out), work_folder(out) as work:
        assert {path.name for path in out.iterdir()} == {".lock", ".holder", work.name}
        made = work / "made"
        made.mkdir()
        (made / "file").touch()
        install(made, out / "result", replace=True)
        (work / "more").touch()
    assert {path.name for path in out.iterdir()} <= {".lock", "result"}
    assert names(out / "result") == {"file"}


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_leftovers_go_unless_a_writer_is_at_work(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    for name in (".work-1", ".work-2"):
        (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / "result").mkdir()
    with locked(tmp_path / ".lock", tmp_path):
        remove_leftovers(tmp_path)
        assert (tmp_path / ".work-1").exists()
    remove_leftovers(tmp_path)
    assert inside(tmp_path) == [".lock", "result"]
    (tmp_path / ".holder").write_text("1")
    remove_leftovers(tmp_path)
    assert inside(tmp_path) == [".lock", "result"]


def test_a_root_that_is_removed_meanwhile_is_made_again_by_who_waited(tmp_path: Path) -> None:
    root = tmp_path / "root"
    entered = []

    def enter() -> None:
        with locked_root(root):
            entered.append(inside(root))

    with locked_root(root):
        (root / "result").mkdir()
        with pytest.raises(LockedError), ThreadPoolExecutor() as pool:
            pool.submit(remove_root, root).result()
    remove_root(root)
    assert not root.exists()
    enter()
    assert entered == [[".holder", ".lock"]]
