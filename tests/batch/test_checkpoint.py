"""What a job keeps: a job that is killed goes on where it was, and only one process is at it."""

from __future__ import annotations

import json
import os
import random
import signal
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from genrec_edge.batch.checkpoint import FinishedChunks, open_checkpoint
from genrec_edge.errors import UsageError
from tests.support.batch_jobs import begun, parts, run
from tests.support.faults import flipped_bit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
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


def checkpoint(out_path: Path, sizes: list[int]) -> AbstractContextManager[FinishedChunks]:
    return open_checkpoint(out_path, {"users": "these"}, sizes, force=False)


LINES = [[b"one\n", b"two\n"], [b"three\n"]]


def test_a_part_that_is_not_what_was_written_is_answered_again(
    tmp_path: Path, trials: Callable[[int, int], int], caplog: pytest.LogCaptureFixture
) -> None:
    out_path = tmp_path / "out.jsonl"
    with checkpoint(out_path, [2, 1]) as chunks:
        for number, lines in enumerate(LINES):
            chunks.keep(number, lines)
    for seed in range(trials(30, 500)):
        rng = random.Random(seed)
        damaged = rng.randrange(2)
        path = parts(out_path)[damaged]
        with flipped_bit(path, rng) as bit, checkpoint(out_path, [2, 1]) as chunks:
            assert chunks.missing() == [damaged], bit
            chunks.keep(damaged, LINES[damaged])
            assert list(chunks.lines()) == [b"one\n", b"two\n", b"three\n"]
    assert "its users are answered again" in caplog.text
    with checkpoint(out_path, [2, 1]) as chunks:
        assert chunks.missing() == []
        parts(out_path)[1].write_bytes(b"3\n")
        with pytest.raises(UsageError, match="is not the 1 lines that were written"):
            list(chunks.lines())


def test_parts_of_version_0_1_have_no_hash(tmp_path: Path) -> None:
    out_path = tmp_path / "out.jsonl"
    with checkpoint(out_path, [2, 1]):
        pass
    (tmp_path / "out.jsonl.parts" / "00000000.jsonl").write_bytes(b"".join(LINES[0]))
    (tmp_path / "out.jsonl.parts" / "00000001.jsonl").write_bytes(b"cut\noff\n")
    with checkpoint(out_path, [2, 1]) as chunks:
        assert chunks.missing() == [1]


def test_what_a_job_left_when_it_was_killed_at_its_end_goes(tmp_path: Path) -> None:
    out_path = tmp_path / "out.jsonl"
    out_path.write_bytes(b"done\n")
    (tmp_path / ".out.jsonl.parts.done").mkdir()
    with pytest.raises(UsageError, match="is there already"), checkpoint(out_path, [1]):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
