"""How a result looks to a person: the table, what was understood, and what it cost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import run, run_json, run_text, titles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")


def test_free_text_says_how_it_became_an_item(
    bigram_llama: Callable[..., Path], tmp_path: Path, recommend_command: list[str]
) -> None:
    model_path = bigram_llama(tmp_path / "m.gguf", {"\n": {"M": 1.0}, "M": {"\n": 1.0}})
    document = run_json(*recommend_command, "--model", str(model_path), "-k", "2", "--decode", "free")
    assert titles(document) == ["M"]
    assert document["items"][0]["grounding"] == {"input": "M", "method": "exact", "confidence": 1.0}
    assert (document["exact"], document["gap"]) == (False, None)
    table = run(*recommend_command, "--model", str(model_path), "-k", "2", "--decode", "free")
    assert "free text, 0 titles refused" in table.stderr


@pytest.mark.slow
def test_a_person_gets_a_table_and_what_was_understood(recommend_command: list[str]) -> None:
    history = ("-H", "Jaws", "-H", "teh matrx", "-H", "heat", "-H", "9999")
    result = run(*recommend_command, *history, "-k", "60", "--allow-seen", "--prior", "none")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    assert lines[0].split() == ["#", "title", "year", "genres", "score", "probability"]
    ranked = [line.split() for line in lines if re.match(r"\s*\d+ ", line)]
    assert [cells[0] for cells in ranked] == [str(rank) for rank in range(1, 61)]
    assert all(cells[-1].endswith("%") for cells in ranked)
    for cell in ("Jaws", "1975", "Horror", "Thriller", "千と千尋の神隠し", "8½"):
        assert cell in result.stdout
    said = result.stderr.splitlines()
    assert said[0] == "as written: Jaws (1975)"
    assert re.fullmatch(r"understood 'teh matrx' as Matrix, The \(1999\) \[fuzzy, 0\.\d\d\]", said[1])
    assert said[2] == "left out 'heat': Heat (1995) or (1986)?"
    assert said[3] == "left out '9999': it is not in the catalog"
    assert re.fullmatch(
        r"the exact top of the catalog; loaded in [\d.]+ s, prompt [\d.]+ s \(\d+ tokens, 0 reused\), "
        r"search [\d.]+ s \(\d+ tokens\)",
        said[4],
    )
    assert len(said) == 5


@pytest.mark.slow
def test_dropped_titles_are_mentioned(recommend_command: list[str]) -> None:
    enjoyed = ("Vertigo", "Casablanca", "Chinatown", "Rear Window", "Trainspotting", "Groundhog Day", "Psycho")
    long = [f"--history={title}" for title in (*enjoyed, "Some Like It Hot", "The Princess Bride", "Blade Runner")]
    few = [*recommend_command, "--ctx", "256", "-k", "1"]
    n_dropped = run_json(*few, *long)["dropped"]
    assert n_dropped > 1
    said = run(*few, *long).stderr
    assert f"the {n_dropped} oldest titles are left out: more than the model reads at once" in said
    assert "the oldest title is left out" in run(*few, *long[n_dropped - 1 :]).stderr


@pytest.mark.model
def test_what_is_given_up_is_said(films_options: tuple[str, ...]) -> None:
    words = "comedy by Ridley Scott, with Tom Cruise, 1920s"
    shown = run_text("recommend", *films_options, "--intent", words, "-k", "3", "--score", "catalog")
    assert "too few items satisfy all of that: given up " in shown.stderr
