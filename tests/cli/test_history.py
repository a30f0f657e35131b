"""Options that name a history: a file, standard input, titles, a user's profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.cli.history import HistoryOptions
from tests.support.commands import run, run_json, run_text, titles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")


def test_the_history_comes_from_a_file_from_stdin_and_from_options(
    recommend_command: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "history.txt"
    path.write_text('Jaws\n\n{"id": "004"}\n', encoding="utf-8-sig")
    from_file = run_json(*recommend_command, "--history-file", str(path), "-H", "Fargo", "-k", "1")
    assert [r["input"] for r in from_file["resolved"]] == ["Jaws", "004", "Fargo"]
    from_stdin = run_json(*recommend_command, "--history-file", "-", "-H", "Fargo", "-k", "1", stdin=path.read_bytes())
    assert from_stdin["resolved"] == from_file["resolved"]
    assert titles(from_stdin) == titles(from_file)


def test_what_of_a_history_file_was_not_used_is_said(tmp_path: Path, messy_catalog_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"title": "Heat", "year": "1986", "rating": "5", "mood": "dark"}\n', encoding="utf-8")
    update = ("profile", "update", "ann", "--history-file", str(path), "--catalog", str(messy_catalog_path))
    result = run(*update)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (0, f"{path}: not used: 'mood' (1)")
    assert run(*update, "--quiet").stderr == ""
    assert run_json("profile", "show", "ann")["profile"]["n_events"] == 1


def test_a_file_is_put_in_the_order_of_its_times_whatever_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("title,date\nJaws,2024-03-01\nFargo,2024-01-01\n")
    named = HistoryOptions(history=("Heat",), history_file=str(path)).interactions()
    assert [entry.title for entry in named] == ["Fargo", "Jaws", "Heat"]


def test_what_a_profile_did_not_take_is_said_for_its_own_reason(messy_catalog_path: Path) -> None:
    update = ("profile", "update", "ben", "--catalog", str(messy_catalog_path), "-H", "Heat")
    refused = run(*update)
    assert refused.exit_code == 3
    assert "'Heat' (Heat (1995) or (1986)?)" in refused.stderr
    done = run(*update, "-H", "teh matrx", "-H", "xyzzy")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[:3] == [
        "left out 'Heat': Heat (1995) or (1986)?",
        "understood 'teh matrx' as Matrix, The (1999) [fuzzy, 0.72]",
        "left out 'xyzzy': it is not in the catalog",
    ]


@pytest.mark.model
def test_the_history_of_a_named_user_comes_from_the_profile(films_options: tuple[str, ...]) -> None:
    watched = ["Alien", "Aliens", "Predator", "The Thing (1982)", "Blade Runner", "RoboCop (1987)"]
    history = [part for title in watched for part in ("-H", title)]
    run_text("profile", "update", "ann", *history, "--catalog", films_options[3])
    seen = run_json("recommend", *films_options, "--profile", "ann", "-k", "5", "--score", "catalog")
    assert not {item["title"] for item in seen["items"]} & {"Alien", "Aliens", "Predator", "Blade Runner"}
    assert {entry["title"] for entry in seen["resolved"]} <= {
        "Alien",
        "Aliens",
        "Predator",
        "The Thing",
        "Blade Runner",
        "RoboCop",
    }
    result = run("recommend", *films_options, "--profile", "ann", "--preference", "quiet")
    assert result.exit_code == 2
    assert "both say what the user likes" in result.stderr
    assert run("recommend", *films_options, "--profile", "nobody").exit_code == 2
