"""A job in several processes: workers that die are replaced, and the answers stay the same."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.batch_jobs import MAIN, begun, parts, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("job_home")]

HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
"""Shells start what runs in their background with SIGINT ignored, and it stays so below the tests."""


def children(pid: int) -> list[int]:
    """Return the processes below one, those that Python starts for itself left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat, said = (path / "stat").read_text(), (path / "cmdline").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid and "resource_tracker" not in said:
            found.append(int(path.name))
    return found


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(whole_output: bytes, batch_command: list[str], tmp_path: Path) -> None:
    process = begun(batch_command, tmp_path / "out.jsonl")
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGCONT)
    said = process.communicate()
    assert process.returncode == 3, said
    assert (tmp_path / "out.jsonl").read_bytes() == whole_output


@pytest.mark.slow
def test_a_user_who_kills_the_workers_is_given_up_and_no_other(
    whole_output: bytes, batch_command: list[str], job_users: Path, tmp_path: Path, killer: dict[str, str]
) -> None:
    done = run(batch_command, tmp_path / "out.jsonl", "--json", env={**killer, "KILL_THIRTEEN": "1"})
    assert done.returncode == 3, done.stderr
    lines, expected = (tmp_path / "out.jsonl").read_bytes().splitlines(), whole_output.splitlines()
    asked = [json.loads(line).get("k") for line in job_users.read_text().splitlines()]
    (crashing,) = (n for n, (line, other) in enumerate(zip(lines, expected, strict=True)) if line != other)
    assert asked[crashing] == 13
    row = json.loads(lines[crashing])
    assert row["user"] == f"u{crashing}"
    assert row["error"] == {"code": "engine", "message": "3 workers died of this request"}


@pytest.mark.slow
def test_a_chunk_that_kills_its_workers_is_given_up_and_no_other(
    whole_output: bytes, batch_command: list[str], tmp_path: Path, killer: dict[str, str]
) -> None:
    done = run(batch_command, tmp_path / "out.jsonl", "--json", env={**killer, "KILL_TELLING": "1"})
    assert done.returncode == 3, done.stderr
    lines, expected = (tmp_path / "out.jsonl").read_bytes().splitlines(), whole_output.splitlines()
    given_up = [n for n, (line, other) in enumerate(zip(lines, expected, strict=True)) if line != other]
    assert given_up == list(range(32, 48))  # the third chunk, none of whose users can be blamed
    errors = [json.loads(lines[n])["error"] for n in given_up]
    assert {error["code"] for error in errors} == {"engine"}
    assert [json.loads(lines[n])["user"] for n in given_up] == [f"u{n}" for n in given_up]


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_keeps_what_is_done(batch_command: list[str], tmp_path: Path) -> None:
    process = begun([part.replace(MAIN, HEARING + MAIN) for part in batch_command], tmp_path / "out.jsonl")
    (worker,) = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGCONT)
    _, said = process.communicate()
    assert (process.returncode, said.decode().splitlines()[-1]) == (130, "interrupted")
    assert not Path(f"/proc/{worker}").exists()
    assert parts(tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.model
def test_the_default_model_answers_the_same_with_one_worker_and_with_two(
    default_model: Path, films_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_models_path: Path
) -> None:
    monkeypatch.setenv("GENREC_EDGE_MODELS", str(real_models_path))
    titles = ["Alien", "Fargo", "Toy Story", "Aladdin (1992)", "Blade Runner", "The Matrix", "Pulp Fiction"]
    rows = [{"user": n, "history": titles[n % 5 :][: 1 + n % 4]} for n in range(40)]
    (tmp_path / "users.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-c", MAIN, "batch", str(tmp_path / "users.jsonl"), "--catalog", str(films_path)]
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert run(command, one, "--workers", "1", "--threads", "2").returncode == 0
    assert run(command, two, "--workers", "2", "--threads", "1").returncode == 0
    assert one.read_bytes() == two.read_bytes()
    answered = [json.loads(line) for line in one.read_text().splitlines()]
    assert [row["user"] for row in answered] == list(range(40))
    assert all(row["exact"] and len({item["id"] for item in row["items"]}) == 10 for row in answered)
