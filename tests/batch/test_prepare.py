"""What is opened before a job begins, in a process of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.batch_jobs import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("job_home")]


def test_a_model_that_aborts_whoever_opens_it_is_one_line(
    batch_command: list[str], tmp_path: Path, killer: dict[str, str]
) -> None:
    env = {**killer, "KILL_OPENING": "1"}
    done = run(batch_command, tmp_path / "out.jsonl", env=env)
    assert (done.returncode, done.stdout) == (9, "")
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "tiny-llama.gguf died of SIGABRT; `genrec-edge inspect` says" in line
    assert "Traceback" not in done.stderr
    error = json.loads(run(batch_command, tmp_path / "out.jsonl", "--json", env=env).stdout)["error"]
    assert (error["code"], error["exit"]) == ("engine", 9)
    assert [path.name for path in tmp_path.iterdir()] == ["killer"]


def test_what_is_wrong_is_said_as_ever(batch_command: list[str], tmp_path: Path) -> None:
    done = run([*batch_command, "--ctx", "3"], tmp_path / "out.jsonl")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_what_is_warned_of_while_opening_is_said(batch_command: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = {"GENREC_EDGE_CACHE": str(tmp_path / "file")}
    done = run(batch_command, tmp_path / "out.jsonl", env=env)
    assert done.returncode == 3, done.stderr  # three users have no answer
    assert done.stderr.count("the title index is not kept in") == 1
