"""The commands of the task forms: tables, one JSON object each, exit codes, and users by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from genrec_edge import cli

if TYPE_CHECKING:
    from typer.testing import Result

HISTORY = ("-H", "Toy Story", "-H", "Aladdin")
TOLD = ("--preference", "loud ones", "--intent", "comedy, 1990s", "--context", "when=tonight")

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def _place(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def at(smollm2: Path, films_path: Path) -> tuple[str, ...]:
    return ("--model", str(smollm2), "--catalog", str(films_path))


def call(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, arguments, input=stdin)


def run(*arguments: str, stdin: str | None = None) -> Result:
    result = call(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result


def run_json(*arguments: str, stdin: str | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json", stdin=stdin).stdout)
    return document


def test_recommend_shows_what_it_understood_and_why(at: tuple[str, ...]) -> None:
    document = run_json("recommend", *at, *HISTORY, *TOLD, "-k", "2", "--score", "catalog", "--explain")
    where = "genres = 'Comedy' AND year BETWEEN 1990 AND 1999"
    assert (document["where"], document["loosened"], document["left_out"]) == (where, [], [])
    facts = [{"column": "genres", "value": "Comedy"}, {"column": "decade", "value": "1990s"}]
    assert document["reading"] == {"text": "comedy, 1990s", "facts": facts, "where": where, "rest": ""}
    assert all("Comedy" in item["columns"]["genres"] and 1990 <= item["year"] < 2000 for item in document["items"])
    shown = run("recommend", *at, *HISTORY, *TOLD, "-k", "2", "--score", "catalog", "--explain")
    assert f"wanted: {where}" in shown.stderr
    reasons = [reason for item in document["items"] for reason in item.get("reasons", ())]
    assert reasons
    assert f"because of {reasons[0]['title']} ({reasons[0]['year']}) +{reasons[0]['nats']:.2f}" in shown.stdout
    free = run_json("recommend", *at, *HISTORY, *TOLD, "-k", "2", "--score", "catalog", "--no-intent-where")
    assert free["where"] is None


def test_what_is_given_up_is_said(at: tuple[str, ...]) -> None:
    words = "comedy by Ridley Scott, with Tom Cruise, 1920s"
    shown = run("recommend", *at, "--intent", words, "-k", "3", "--score", "catalog")
    assert "too few items satisfy all of that: given up " in shown.stderr


def test_rerank_reads_candidates_from_a_file_and_from_stdin(at: tuple[str, ...]) -> None:
    lines = 'Heat (1995)\n{"title": "Alien"}\nFargo\nno such film at all\n'
    Path("some.txt").write_text(lines, encoding="utf-8")
    document = run_json("rerank", *at, *HISTORY, "--candidates", "some.txt", "--intent", "horror")
    assert document["schema"] == "genrec-edge/rerank@1"
    assert {(item["title"], item["fits"]) for item in document["items"]} == {
        ("Heat", False),
        ("Alien", True),
        ("Fargo", False),
    }
    scores = [item["score"] for item in document["items"]]
    assert scores == sorted(scores, reverse=True)
    assert [left["input"] for left in document["left_out"]] == ["no such film at all"]
    shown = run("rerank", *at, *HISTORY, "--candidates", "-", "--intent", "horror", stdin=lines)
    assert shown.stdout.index(document["items"][0]["title"]) < shown.stdout.index(document["items"][2]["title"])
    assert "fits" in shown.stdout
    assert "left out 'no such film at all'" in shown.stderr


def test_judge_compare_describe_and_queries_print_tables_and_json(at: tuple[str, ...]) -> None:
    judged = run_json("judge", "Alien", "Fargo", *at, *HISTORY)
    assert [item["title"] for item in judged["items"]] == ["Alien", "Fargo"]
    assert all(0 < item["p_yes"] < 1 for item in judged["items"])
    assert judged["calibrated"] is False
    shown = run("judge", "Alien", *at, *HISTORY)
    assert f"{judged['items'][0]['p_yes']:.0%}" in shown.stdout
    assert "was not calibrated" in shown.stderr
    compared = run_json("compare", "Alien", "Fargo", *at, *HISTORY)
    assert (compared["a"]["title"], compared["b"]["title"]) == ("Alien", "Fargo")
    assert compared["agrees"] == ((compared["p_a_first"] > 0.5) == (compared["p_a_second"] > 0.5))
    assert f"{compared['p_a']:.0%}" in run("compare", "Alien", "Fargo", *at, *HISTORY).stdout
    described = run_json("describe", *at, *HISTORY, "-k", "3")
    assert len(described["traits"]) == 3
    text = run("describe", *at, *HISTORY, "-k", "3")
    assert described["traits"][0]["value"] in text.stdout
    assert f"by counting: {described['summary']}" in text.stderr
    asked = run_json("queries", "Fargo", *at, "-k", "4")
    assert asked["item"]["title"] == "Fargo"
    assert all(phrase["items"] >= 1 for phrase in asked["phrases"])
    assert asked["phrases"][0]["text"] in run("queries", "Fargo", *at, "-k", "4").stdout


def test_a_user_by_name_is_told_from_their_profile(at: tuple[str, ...]) -> None:
    watched = ["Alien", "Aliens", "Predator", "The Thing (1982)", "Blade Runner", "RoboCop (1987)"]
    history = [part for title in watched for part in ("-H", title)]
    run("profile", "update", "ann", *history, "--catalog", at[3])
    seen = run_json("recommend", *at, "--profile", "ann", "-k", "5", "--score", "catalog")
    assert not {item["title"] for item in seen["items"]} & {"Alien", "Aliens", "Predator", "Blade Runner"}
    assert {entry["title"] for entry in seen["resolved"]} <= {
        "Alien",
        "Aliens",
        "Predator",
        "The Thing",
        "Blade Runner",
        "RoboCop",
    }
    result = call("recommend", *at, "--profile", "ann", "--preference", "quiet")
    assert result.exit_code == 2
    assert "both say what the user likes" in result.stderr
    assert call("recommend", *at, "--profile", "nobody").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("judge", "No such film at all"), "cannot judge what is not surely in the catalog"),
        (("compare", "Alien", "Alien"), "are the same item"),
        (("rerank", "--candidates", "nowhere.txt"), "cannot read nowhere.txt"),
        (("describe",), "there is no history to describe"),
        (("queries", "No such film at all"), "cannot ask for what is not surely in the catalog"),
        (("recommend", "--context", "tonight"), "the context 'tonight' is not NAME=WORDS"),
        (("recommend", "--preference", " "), "--preference must not be empty"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str, at: tuple[str, ...]) -> None:
    result = call(*arguments, *at)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    document = json.loads(call(*arguments, *at, "--json").stdout)
    assert message in document["error"]["message"]
