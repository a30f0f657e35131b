"""`genrec-edge bench`: figures as JSON and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.commands import assert_one_line, run_json, run_text

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")


@pytest.fixture
def bench_command(tiny_llama: Path, tricky_path: Path) -> list[str]:
    """Returns the command for two requests with two titles each."""
    few = ["-n", "2", "-k", "1", "--history-length", "2", "--threads", "1"]
    return ["bench", "--model", str(tiny_llama), "--catalog", str(tricky_path), *few]


def test_the_figures_are_those_of_the_requests(bench_command: list[str], tiny_llama: Path) -> None:
    document = run_json(*bench_command)
    assert (document["schema"], document["requests"]) == ("genrec-edge/bench@1", 2)
    assert document["model"]["path"] == str(tiny_llama)
    assert document["exact_share"] == 1
    assert 0 < document["evaluated_tokens_p50"] <= document["evaluated_tokens_p95"]
    assert 0 < document["request_p50_s"] <= document["request_p95_s"]
    assert document["peak_memory_mib"] > 0
    assert run_json(*bench_command, "--seed", "1")["catalog"] == document["catalog"]


def test_a_person_gets_a_table(bench_command: list[str]) -> None:
    lines = [line.split() for line in run_text(*bench_command, "--quiet").stdout.splitlines() if line.strip()]
    assert lines[0] == ["measure", "value"]
    assert ["requests", "2"] in lines
    assert ["catalog", "items", "60"] in lines


def test_too_few_items_for_the_histories_are_one_line(bench_command: list[str]) -> None:
    message = "1 items fit the condition, 3 are needed"
    assert_one_line([*bench_command, "--where", "title = 'Alien'"], message)
