"""`--facts-weight`: from the command line to the bias of each item, in every command that ranks."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from genrec_edge.batch.worker import WorkerSetup
from genrec_edge.options import OpenOptions
from genrec_edge.prior.facts import LATEST
from tests.support.commands import run, run_json, run_text
from tests.support.facts import build_films, facts_in_common, random_films

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_home")

FILMS = random_films(random.Random(6), 30)


@pytest.fixture
def options(tiny_llama: Path, tmp_path: Path) -> list[str]:
    path = build_films(FILMS, tmp_path / "films.db")
    return ["--model", str(tiny_llama), "--catalog", str(path), "--threads", "1"]


def expected(history: list[int], item_id: str) -> float:
    return 2.5 * facts_in_common(FILMS, history)[int(item_id[1:])]


def test_recommend_says_what_facts_add(options: list[str]) -> None:
    asked = ["recommend", *options, "-H", "f3", "-H", "f11", "-k", "4"]
    document = run_json(*asked, "--facts-weight", "2.5")
    assert document["model"]["facts_weight"] == 2.5
    for item in document["items"]:
        assert item["facts"] == item["bias"] == pytest.approx(expected([3, 11], item["id"]))
    shown = run_text(*asked, "--facts-weight", "2.5", "--explain").stdout
    for item in document["items"]:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{item['title']}: ")]
        assert line.endswith(f"facts in common +{item['facts']:.2f}")
    assert "facts in common" not in run_text(*asked, "--facts-weight", "2.5").stdout
    without = run_json(*asked)
    assert "facts_weight" not in without["model"]
    assert all("facts" not in item for item in without["items"])


@pytest.mark.slow
def test_rerank_and_batch_take_it_too(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("f1\nf2\nf7\n")
    ranked = run_json("rerank", *options, "-H", "f3", "--candidates", str(tmp_path / "c.txt"), "--facts-weight", "2.5")
    assert {i["id"]: i["facts"] for i in ranked["items"]} == pytest.approx(
        {item_id: expected([3], item_id) for item_id in ("f1", "f2", "f7")}
    )
    users, out = tmp_path / "users.jsonl", tmp_path / "rows.jsonl"
    history = [f"f{i}" for i in range(LATEST + 4)]
    users.write_text(json.dumps({"user": 1, "history": history}) + "\n")
    batch = ["batch", str(users), "-o", str(out), "--workers", "1", "-k", "3", *options]
    assert run(*batch, "--facts-weight", "2.5").exit_code == 0
    (row,) = map(json.loads, out.read_text().splitlines())
    for item in row["items"]:
        assert item["facts"] == pytest.approx(expected(list(range(LATEST + 4)), item["id"]))


def test_a_job_of_another_weight_is_another_job(tmp_path: Path) -> None:
    """And without facts it is the job of the version before, which knew none."""
    setups = [WorkerSetup(OpenOptions(tmp_path, facts_weight=weight)).key()["setup"] for weight in (0.0, 1.0, 2.0)]
    assert "facts_weight" not in setups[0]
    assert setups[1] != setups[2]


def test_weights_that_make_no_sense_are_one_line(options: list[str]) -> None:
    assert "--facts-weight must be at least 0, got -1.0" in run("recommend", *options, "--facts-weight", "-1").stderr
