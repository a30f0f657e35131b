"""What a job keeps: a job that is killed goes on where it was, and only one process is at it."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.support.batch_jobs import begun, parts, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("job_home")


@pytest.mark.slow
def test_a_killed_job_goes_on_where_it_was(whole_output: bytes, batch_command: list[str], tmp_path: Path) -> None:
    process = begun(batch_command, tmp_path / "out.jsonl")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in parts(tmp_path / "out.jsonl")}
    assert kept
    assert not (tmp_path / "out.jsonl").exists()
    other = run([part if part != "5" else "6" for part in batch_command], tmp_path / "out.jsonl")
    assert (other.returncode, other.stdout) == (2, "")
    assert "belongs to another job: asked.k differ; repeat the call it was made with" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in parts(tmp_path / "out.jsonl")} == kept
    done = run(batch_command, tmp_path / "out.jsonl", "--json")
    assert json.loads(done.stdout)["resumed"] == 16 * len(kept)
    assert (tmp_path / "out.jsonl").read_bytes() == whole_output
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    again = run(batch_command, tmp_path / "out.jsonl")
    assert again.returncode == 2
    assert again.stderr.endswith("out.jsonl is there already; choose another --out, or set --force\n")
    assert (tmp_path / "out.jsonl").read_bytes() == whole_output


# The renames of a job of two chunks: its key, the two parts, the output, and the folder of parts.
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before 1", "before 4", "after 4"])
def test_killed_at_any_rename_nothing_is_lost(
    moment: str, whole_output: bytes, batch_command: list[str], job_users: Path, tmp_path: Path, killer: dict[str, str]
) -> None:
    (tmp_path / "users.jsonl").write_bytes(b"".join(job_users.read_bytes().splitlines(keepends=True)[:20]))
    short = [str(tmp_path / "users.jsonl") if part == str(job_users) else part for part in batch_command]
    out_path = tmp_path / "out.jsonl"
    assert run(short, out_path, env={**killer, "KILL_AT": moment}).returncode == -signal.SIGKILL
    assert out_path.exists() == (moment == "after 4")
    done = run(short, out_path)
    assert done.returncode == 3, done.stderr
    assert out_path.read_bytes() == b"".join(whole_output.splitlines(keepends=True)[:20])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killer", "out.jsonl", "users.jsonl"]


@pytest.mark.slow
def test_one_process_at_a_time_and_no_foreign_folder(batch_command: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "out.jsonl.parts"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        done = run(batch_command, tmp_path / "out.jsonl")
    assert (done.returncode, done.stderr.count("\n")) == (11, 1)
    (folder / "mine.txt").write_text("mine")
    done = run(batch_command, tmp_path / "out.jsonl", "--force")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not the folder of a job: it holds mine.txt" in done.stderr
    assert (folder / "mine.txt").read_text() == "mine"
