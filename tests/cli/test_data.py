"""`genrec-edge data`: data on stdout, words on stderr, one JSON object, and the licence said once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from genrec_edge import cli

if TYPE_CHECKING:
    from typer.testing import Result

LICENCE = "LicenseRef-GroupLens: GroupLens, University of Minnesota: for research; no commercial use"
IMPORT = ["import", "--interactions", "events.csv", "--items", "items.csv", "--name", "mine", "--license", "CC0-1.0"]


@pytest.fixture(autouse=True)
def _place(recbole_wheel: Path, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip sees the wheel and nothing else; the commands run in a folder with two small files."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(recbole_wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    Path("items.csv").write_text("movieId,title,genres\n7,Heat (1995),Crime|Drama\n8,Ran,Drama\n", encoding="utf-8")
    Path("events.csv").write_text("userId,movieId,rating,timestamp\n1,8,3.5,10\n1,7,4,20\n2,7,1,20\n", encoding="utf-8")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["data", *arguments])


def run(*arguments: str) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def run_json(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return document


def test_pull_says_what_may_be_done_once_and_prints_the_folder(own_home: Path) -> None:
    folder = own_home / "datasets" / "ml-100k"
    first = run("pull", "ml-100k")
    assert first.stdout == f"{folder}\n"
    assert "fetching MovieLens 100K out of the package recbole==1.2.1 (2.1 MB) with pip" in first.stderr
    assert first.stderr.count(LICENCE) == 1
    again = run("pull", "ml-100k", "--offline")
    assert (again.stdout, again.stderr) == (first.stdout, "")
    assert run("pull", "ml-100k", "--force", "--quiet").stderr == ""


def test_pull_prints_one_json_object(ml_100k: Path, tmp_path: Path) -> None:
    shutil.copytree(ml_100k, tmp_path / "there")
    pulled = run_json("pull", "ml-100k", "--out", "there")
    assert pulled == {
        "schema": "genrec-edge/data-pull@1",
        "path": "there",
        "card": json.loads((ml_100k / "card.json").read_text(encoding="utf-8")),
    }


@pytest.mark.slow
def test_the_package_has_a_data_set_of_its_own(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    folder = own_home / "datasets" / "movietweetings"
    pulled = run("pull", "movietweetings")
    assert pulled.stdout == f"{folder}\n"
    origin, terms, left_out = pulled.stderr.splitlines()
    assert origin == "reading MovieTweetings out of the package itself"
    assert terms.startswith("MIT AND CC0-1.0 AND CC-BY-4.0: ")
    assert "Copyright (c) 2013 Simon Dooms" in terms
    assert left_out.startswith("left out: ")
    assert run("pull", "movietweetings").stderr == ""
    shown = run("show", "movietweetings").stdout
    assert "2013-02-28 to 2013-11-06" in shown
    assert "films.jsonl.xz" in shown


def test_show_says_what_a_data_set_holds(ml_100k: Path) -> None:
    text = run("show", str(ml_100k)).stdout
    for part in (
        "MovieLens 100K",
        "no redistribution without permission",
        "the package recbole==1.2.1",
        "100,000, 100,000 of them rated, 0 repeats",
        "1,682, 1,682 of them with events",
        "1997-09-20 to 1998-04-22",
        "20 min, 65 median, 737 max, 106.0 mean",
        "415 users (44.0%) on their last two; 50.6% of events",
    ):
        assert part in text
    shown = run_json("show", str(ml_100k))
    assert shown["schema"] == "genrec-edge/data-show@1"
    assert (shown["facts"]["users"], shown["facts"]["tied_last_two"]) == (943, 415)
    assert shown["card"]["licence"] == "LicenseRef-GroupLens"


def test_import_takes_the_columns_it_is_told_or_guesses_them(own_home: Path) -> None:
    made = run_json(*IMPORT, "--terms", "do as you like")
    assert made["path"] == str(own_home / "datasets" / "mine")
    assert (made["card"]["terms"], made["card"]["interactions"]["events"]) == ("do as you like", 3)
    assert run_json("show", "mine")["facts"]["max_length"] == 2
    options = ["--user", "movieId", "--item", "userId", "--timestamp", "rating", "--rating", "timestamp"]
    Path("items.csv").write_text("when,key,what\n1,1,One\n2,2,Two\n", encoding="utf-8")
    other = run(*IMPORT, "--out", "other", *options, "--id", "key", "--title", "what", "--year", "when")
    assert (other.stdout, other.stderr) == ("other\n", "")
    assert run_json("show", "./other")["facts"] == {
        "users": 2,
        "items": 2,
        "catalog_items": 2,
        "events": 3,
        "rated": 3,
        "repeats": 0,
        "first_timestamp": 1,
        "last_timestamp": 4,
        "min_length": 1,
        "median_length": 1.5,
        "mean_length": 1.5,
        "max_length": 2,
        "tied_last_two": 0,
        "tied_events": 0,
    }
    assert "events.csv, items.csv" in run("show", "mine").stdout


def test_what_was_left_out_and_decided_is_said() -> None:
    rows = ["1,7,4,1600000010000", "1,7,4,1600000010000", "2,9,4,1600000020"]
    Path("events.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(rows), encoding="utf-8")
    result = call(*IMPORT)
    assert (
        result.exit_code,
        "; every item must be in the item table; --skip-unknown leaves such" in result.stderr,
    ) == (
        2,
        True,
    )
    notes = [
        "left out: 1 event of an item not in the item table: '9'",
        "the times are read as milliseconds",
        "kept: 1 event with user, item and time of an earlier one",
    ]
    assert run(*IMPORT, "--skip-unknown").stderr.splitlines() == notes
    assert run(*IMPORT, "--skip-unknown", "--repeats", "drop", "--force", "--quiet").stderr == ""
    assert run_json("show", "mine")["card"]["interactions"]["left_out"] == 2


def test_events_and_items_may_come_out_of_pipes() -> None:
    program = [sys.executable, "-c", "from genrec_edge.cli import main; main()", "data", *IMPORT]
    program[program.index("events.csv")] = "-"
    done = subprocess.run(program, input=Path("events.csv").read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert run_json("show", "mine")["facts"]["events"] == 3
    bad = subprocess.run([*program, "--force"], input=b"user,item,timestamp\n1,7,x\n", capture_output=True, check=False)
    assert (bad.returncode, bad.stderr[:50]) == (2, b"error: /dev/stdin: 1 event cannot be used: line 2:")


def test_times_that_are_no_dates_are_shown_as_they_are() -> None:
    Path("events.csv").write_text("user,item,timestamp\n1,7,1e14\n", encoding="utf-8")
    run(*IMPORT, "--time-unit", "s")
    assert "100000000000000 to 100000000000000" in run("show", "mine").stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["pull", "ml-20m"], 2, "unknown data set 'ml-20m'; known data sets: goodbooks, ml-100k, mov"),
        (["pull", "ml-100k", "--offline"], 12, "the network is forbidden"),
        (["pull", "ml-100k", "--from", "."], 2, "is fetched with pip, not made of a folder; leave --from out"),
        (
            ["pull", "goodbooks", "--from", "."],
            2,
            "does not have ratings.csv.xz and books.csv.xz, which",
        ),
        (["show", "nothing"], 2, "no data set 'nothing' in"),
        (["show", "."], 2, "it has no card.json"),
        ([*IMPORT, "--item", "userId"], 2, "3 events cannot be used: line 2: unknown item '1'"),
        ([*IMPORT, "--out", "items.csv"], 2, "items.csv would be written over what is read"),
        ([*IMPORT, "--name", "a/b"], 2, "got 'a/b'"),
    ],
)
def test_failures_are_one_line_and_keep_stdout_empty(arguments: list[str], exit_code: int, message: str) -> None:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr.splitlines()[-1]
    error = json.loads(call(*arguments, "--json").stdout)["error"]
    assert error["exit"] == exit_code
    assert message.partition(";")[0] in error["message"]


def test_a_damaged_data_set_has_its_own_exit_code(ml_100k: Path) -> None:
    shutil.copytree(ml_100k, "damaged")
    with Path("damaged/interactions.csv").open("a", encoding="utf-8") as file:
        file.write("1,1,1,1\n")
    result = call("show", "damaged")
    assert result.exit_code == 16
    assert "damaged/interactions.csv has the sha256" in result.stderr
    assert "genrec-edge data pull NAME --force" in result.stderr


def test_instructions_are_written_and_counted(tmp_path: Path) -> None:
    Path("items.csv").write_text(
        "movieId,title,genres\n" + "".join(f"{i},Film {i},Drama|Crime\n" for i in range(40)), encoding="utf-8"
    )
    lines = ["userId,movieId,timestamp", *(f"{u},{(u + 3 * i) % 40},{i}" for u in range(6) for i in range(8))]
    Path("events.csv").write_text("\n".join(lines), encoding="utf-8")
    run(*IMPORT[:-4], "--name", "more", "--license", "CC0-1.0", "--out", str(tmp_path / "more"))
    out = tmp_path / "out.jsonl"
    made = run_json("instructions", "--data", str(tmp_path / "more"), "--out", str(out), "-n", "78")
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert made["path"] == str(out)
    assert sum(made["cells"].values()) == len(rows) == 78
    assert {row["template"] for row in rows} == set(range(39))
    before = out.read_bytes()
    assert "P1,I2,T3" in run("instructions", "--data", str(tmp_path / "more"), "--out", str(out), "-n", "78").stdout
    assert out.read_bytes() == before
    assert call("instructions", "--data", "nowhere", "--out", str(out)).exit_code == 2
    assert out.read_bytes() == before


def test_a_data_set_of_titles_alone_has_no_instructions(tmp_path: Path) -> None:
    Path("items.csv").write_text("movieId,title\n7,Heat\n8,Ran\n", encoding="utf-8")
    run(*IMPORT, "--out", str(tmp_path / "bare"))
    result = call("instructions", "--data", str(tmp_path / "bare"), "--out", "out.jsonl")
    assert result.exit_code == 2
    assert "has only titles; instructions need facts" in result.stderr
    assert not Path("out.jsonl").exists()


@pytest.mark.model
def test_a_teacher_writes_the_preferences(facts_data: Path, smollm2: Path, tmp_path: Path) -> None:
    plain, taught = tmp_path / "plain.jsonl", tmp_path / "taught.jsonl"
    run("instructions", "--data", str(facts_data), "--out", str(plain), "-n", "39")
    run("instructions", "--data", str(facts_data), "--out", str(taught), "-n", "39", "--teacher", str(smollm2), "-q")
    rows = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in (plain, taught)]
    differs = {b["cell"] for a, b in zip(*rows, strict=True) if a != b}
    assert differs
    assert all(  # all else is as it was
        a == b for a, b in zip(*rows, strict=True) if "P2" not in a["cell"] and "preference" not in a["answer"]
    )
