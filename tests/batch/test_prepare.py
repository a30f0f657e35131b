"""What is opened before a job begins, in a process of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from genrec_edge.batch.prepare import prepare_setup
from genrec_edge.batch.worker import WorkerSetup
from genrec_edge.options import OpenOptions
from tests.support.batch_jobs import run

if TYPE_CHECKING:
    from collections.abc import Callable
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


@pytest.mark.parametrize(("named", "expected"), [(None, 0.25), (0.0, 0.0)])
def test_what_a_record_says_of_calibrate_is_part_of_the_job(
    residual_model: Callable[..., Path], tricky_path: Path, named: float | None, expected: float
) -> None:
    model = residual_model({"objective": "catalog", "calibrate": 0.25})
    options = OpenOptions(model, tricky_path, prior_kind="none", calibrate=named)
    setup = prepare_setup(WorkerSetup(options))
    assert setup.options.calibrate == expected
    assert setup.key()["setup"]["calibrate"] == expected
