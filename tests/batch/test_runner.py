"""`genrec-edge batch`: every user once, in order, as the library answers them one by one."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from genrec_edge import Recommender
from genrec_edge.errors import GenRecError
from genrec_edge.records import Interaction
from tests.support.batch_jobs import MAIN, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("job_home")]


@pytest.mark.slow
def test_the_rows_are_what_the_library_answers_one_by_one(
    whole_output: bytes, job_users: Path, tiny_llama: Path, tricky_path: Path
) -> None:
    rows = [json.loads(line) for line in whole_output.splitlines()]
    asked = [json.loads(line) for line in job_users.read_text().splitlines()]
    assert [row["user"] for row in rows] == [user["user"] for user in asked]
    n_items: list[int] = []
    expected: list[tuple[object, object]] = []
    with Recommender.open(tiny_llama, tricky_path, n_threads=1) as recommender:
        for row, user in zip(rows, asked, strict=True):
            history = [Interaction(**entry) if isinstance(entry, dict) else entry for entry in user.pop("history")]
            del user["user"]
            try:
                result = recommender.recommend(history, **{"k": 5, **user})
            except GenRecError as e:
                found = (row["error"], row["items"])
                expected.append((found, ({"code": e.code, "message": e.message}, [])))
                continue
            assert row["error"] is None
            assert row["exact"] is True
            assert [(item["rank"], item["id"]) for item in row["items"]] == [(r.rank, r.item.id) for r in result.items]
            assert [item["score"] for item in row["items"]] == pytest.approx([r.score for r in result.items], abs=1e-3)
            assert [entry["input"] for entry in row["unresolved"]] == [m.input for m in result.unresolved]
            n_items.append(len(row["items"]))
    assert all(found == wanted for found, wanted in expected)
    assert [row["user"] for row in rows if row["error"]] == ["u3", "u20", "u21"]
    assert {row["error"]["code"] for row in rows if row["error"]} == {"nothing", "usage"}
    assert sorted(set(n_items)) == [2, 5, 13]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--model", "--catalog"])
def test_no_file_that_is_read_is_written_over(batch_command: list[str], tmp_path: Path, option: str) -> None:
    at = batch_command.index(option) + 1
    own = tmp_path / "own.jsonl"
    shutil.copy(batch_command[at], own)
    before = own.read_bytes()
    done = run([*batch_command[:at], str(own), *batch_command[at + 1 :]], own, "--force")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{own} would be written over what is read: {own}" in done.stderr
    assert own.read_bytes() == before


@pytest.mark.slow
def test_a_missing_extra_is_named(batch_command: list[str], tmp_path: Path) -> None:
    blocked = [part.replace(MAIN, "import sys; sys.modules['pyarrow'] = None; " + MAIN) for part in batch_command]
    done = run(blocked, tmp_path / "out.parquet")
    assert done.returncode == 13, done.stderr
    assert "pip install 'genrec-edge[parquet]'" in done.stderr
    done = run(blocked, tmp_path / "out.jsonl", "--engine", "ray")
    assert done.returncode == 13, done.stderr
    assert "pip install 'genrec-edge[ray]'" in done.stderr
