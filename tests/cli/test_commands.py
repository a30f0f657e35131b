"""Errors are one line and an exit code, whatever the streams are: pipes, full disks, closed descriptors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import installed_command, process, run, run_json

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("offline_home")]

BAD_INPUT = [
    pytest.param(["--model", "{}/none.gguf"], 2, "usage", "no model file", id="no such model file"),
    pytest.param(["--model", "{}/text.gguf"], 5, "model-invalid", "text.gguf", id="not a GGUF"),
    pytest.param(["--model", "{}/empty.gguf"], 5, "model-invalid", "empty.gguf", id="empty model file"),
    pytest.param(["--model", "{}/half.gguf"], 5, "model-invalid", "half.gguf", id="truncated GGUF"),
    pytest.param(["--model", "{}/head.gguf"], 5, "model-invalid", "head.gguf", id="truncated header"),
    pytest.param(["--model", "{}/bert.gguf"], 5, "model-invalid", "'bert' model", id="wrong architecture"),
    pytest.param(["--model", "{}/short.gguf"], 5, "model-invalid", "short.gguf", id="no weights"),
    pytest.param(["--model", "{}/folder.gguf"], 5, "model-invalid", "folder.gguf", id="model is a folder"),
    pytest.param(["--model", "no-such-model"], 4, "model-missing", "'no-such-model'", id="unknown model"),
    pytest.param(["--catalog", "{}/none.db"], 2, "usage", "no such catalog", id="no such catalog"),
    pytest.param(["--catalog", "{}/text.db"], 6, "catalog-invalid", "not a catalog", id="not a database"),
    pytest.param(["--catalog", "{}/empty-file.db"], 6, "catalog-invalid", "not a catalog", id="empty catalog file"),
    pytest.param(["--catalog", "{}/foreign.db"], 6, "catalog-invalid", "another program", id="foreign database"),
    pytest.param(["--catalog", "{}/half.db"], 6, "catalog-invalid", "cut off", id="truncated catalog"),
    pytest.param(["--catalog", "{}/corrupt.db"], 6, "catalog-invalid", "damaged", id="corrupt catalog"),
    pytest.param(["--catalog", "{}/empty.db"], 6, "catalog-invalid", "is empty", id="empty catalog"),
    pytest.param(["--catalog", "{}"], 2, "usage", "cannot read the catalog", id="catalog is a folder"),
    pytest.param(["--where", "colour = 'red'"], 2, "usage", "no column 'colour'", id="unknown column"),
    pytest.param(["--where", "1; DROP TABLE items"], 2, "usage", "';' is not allowed", id="second statement"),
    pytest.param(["--where", "id IN (SELECT id FROM items)"], 2, "usage", "SELECT", id="subquery"),
    pytest.param(["--where", "load_extension('x')"], 2, "usage", "load_extension", id="forbidden function"),
    pytest.param(["--where", "year >"], 2, "usage", "year >", id="half a condition"),
    pytest.param(["--where", "year = '\ud800'"], 2, "usage", "surrogate", id="broken Unicode condition"),
    pytest.param(["--where", "year > 3000"], 3, "nothing", "0 allowed", id="nothing fits"),
    pytest.param(["-H", "no such film"], 3, "nothing", "none of the 1 titles", id="nothing resolved"),
    pytest.param(["-k", "61"], 3, "nothing", "61 items asked for, 60 allowed", id="k too large"),
    pytest.param(["-k", "0"], 2, "usage", "-k must be at least 1, got 0", id="k zero"),
    pytest.param(["-k", "-1"], 2, "usage", "-k must be at least 1, got -1", id="k negative"),
    pytest.param(["--exclude", "no such film"], 3, "nothing", "'no such film'", id="unknown exclusion"),
    pytest.param(["--candidate", "no such film"], 3, "nothing", "'no such film'", id="unknown candidate"),
    pytest.param(["--ctx", "10"], 2, "usage", "must be from 256 to", id="context out of range"),
    pytest.param(
        ["--ctx", "256", "--history-file", "{}/long.txt"],
        2,
        "usage",
        "too few for one title",
        id="context too small",
    ),
    pytest.param(["--threads", "0"], 2, "usage", "--threads must be from 1 to 512, got 0", id="no threads"),
    pytest.param(["--temperature", "-1"], 2, "usage", "temperature", id="negative temperature"),
    pytest.param(["--temperature", "nan"], 2, "usage", "temperature", id="temperature is no number"),
    pytest.param(["--timeout", "-1"], 2, "usage", "--timeout must be at least 0, got -1.0", id="negative timeout"),
    pytest.param(["--history-file", "{}/none.txt"], 2, "usage", "none.txt", id="no such history"),
    pytest.param(["--history-file", "{}"], 2, "usage", "directory", id="history is a folder"),
    pytest.param(["--history-file", "{}/latin1.txt"], 2, "usage", "line 2 is not UTF-8", id="history not UTF-8"),
    pytest.param(["--history-file", "{}/bad.jsonl"], 2, "usage", "bad.jsonl, line 2", id="history not JSON"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "exit_code", "code", "message"), BAD_INPUT)
def test_bad_input_gives_one_line_and_its_exit_code(
    recommend_command: list[str], broken_files: Path, options: list[str], exit_code: int, code: str, message: str
) -> None:
    (broken_files / "long.txt").write_text('{"id": "021"}\n')
    arguments = [*recommend_command, *(option.replace("{}", str(broken_files)) for option in options)]
    plain = run(*arguments)
    assert (plain.exit_code, plain.stdout) == (exit_code, "")
    assert plain.stderr.startswith("error: ")
    assert plain.stderr.count("\n") == 1
    assert message in plain.stderr
    as_json = run(*arguments, "--json")
    assert (as_json.exit_code, as_json.stderr) == (exit_code, "")
    document = json.loads(as_json.stdout)
    assert document.keys() == {"schema", "error"}
    assert document["schema"] == "genrec-edge/error@1"
    error = document["error"]
    assert (error["code"], error["exit"], error.keys()) == (
        code,
        exit_code,
        {"code", "exit", "message", "hint"},
    )
    assert message in error["message"]


def test_without_the_default_model_and_offline_the_command_to_fetch_it_is_named(tricky_path: Path) -> None:
    result = run("recommend", "--catalog", str(tricky_path), "--offline")
    assert (result.exit_code, result.stdout) == (12, "")
    assert "network is forbidden" in result.stderr
    assert "genrec-edge models pull" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_unknown_options_and_missing_values_are_usage_errors(recommend_command: list[str]) -> None:
    for wrong in (
        ["--no-such-option"],
        ["-k", "ten"],
        ["--decode", "magic"],
        ["--score", "x"],
        ["--history"],
        ["extra"],
    ):
        result = run(*recommend_command, *wrong)
        assert (result.exit_code, result.stdout) == (2, "")
        assert wrong[0] in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json=true"], "option '--json' does not take a value"),
        (["--json", "--decode", "x"], "invalid value for '--decode': 'x' is not one of 'exact', 'beam', 'free'"),
    ],
)
def test_a_wrong_option_is_said_in_json_and_in_words(
    recommend_command: list[str], arguments: list[str], message: str
) -> None:
    result = run(*recommend_command, *arguments)
    assert (result.exit_code, json.loads(result.stdout)["error"]["message"]) == (2, message)


def test_a_message_cannot_steer_the_terminal(recommend_command: list[str]) -> None:
    nasty = "x\x1b[2J\x1b]0;owned\x07\u202e\ny"
    for result in (
        run(*recommend_command, "-H", nasty),
        run(*recommend_command, "-H", "Jaws", "-H", nasty),
        run(*recommend_command, "--exclude", nasty),
    ):
        assert result.stderr
        for line in (result.stderr + result.stdout).splitlines():
            assert all(character.isprintable() for character in line)
    assert run_json(*recommend_command, "-H", "Jaws", "-H", nasty)["unresolved"][0]["input"] == nasty


@pytest.mark.slow
def test_the_installed_command_keeps_the_streams_apart(recommend_command: list[str]) -> None:
    done = process([*recommend_command, "-H", "Jaws", "-H", "heat", "-k", "2", "--json"])
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["items"]) == 2
    failed = process([*recommend_command, "-k", "99"])
    assert (failed.returncode, failed.stdout) == (3, "")
    assert failed.stderr.startswith("error: 99 items asked for")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["recommend", "--model", "{model}", "--quiet"], id="table"),
        pytest.param(["recommend", "--model", "{model}", "--json"], id="json"),
        pytest.param(["resolve", "no such film", "--json"], id="exit 3"),
    ],
)
def test_a_reader_that_goes_away_ends_the_command_silently(
    tiny_llama: Path, tricky_path: Path, arguments: list[str]
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    filled = [argument.format(model=tiny_llama) for argument in arguments]
    try:
        done = process([*filled, "--catalog", str(tricky_path)], stdout=write_end)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
def test_piping_into_head_shows_the_first_lines(recommend_command: list[str]) -> None:
    script = f'set -o pipefail; "{installed_command()}" "$@" | head -n 2'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", *recommend_command, "-k", "60", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in {0, 141}  # 0 where the table fitted into the pipe before head left
    assert done.stdout.splitlines()[1].split()[:3] == ["#", "title", "year"]
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("output", [[], ["--json"]])
def test_a_full_disk_is_one_line_and_exit_8(recommend_command: list[str], output: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = process([*recommend_command, "--quiet", *output], stdout=full)
    assert done.returncode == 8
    assert done.stderr == "error: cannot write the output: no space is left on the device\n"


@pytest.mark.slow
def test_closed_streams_are_no_traceback(recommend_command: list[str]) -> None:
    """Descriptors 0 to 2 must not go to the catalog or the model, or messages would be written into them."""
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        script = f'exec "$@" {closed}'
        done = subprocess.run(
            ["/bin/bash", "-c", script, "bash", installed_command(), *recommend_command, "-k", "2", "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert (done.returncode, done.stderr) == (0, ""), closed
        if closed != "<&-":
            continue
        assert len(json.loads(done.stdout)["items"]) == 2


@pytest.mark.slow
def test_a_bug_can_be_traced(recommend_command: list[str]) -> None:
    environment = {**os.environ, "GENREC_EDGE_DEBUG": "1"}
    done = process([*recommend_command, "-k", "99"], env=environment)
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 99 items asked for")


def test_what_the_caller_wrote_is_shown_as_it_was_written(recommend_command: list[str]) -> None:
    result = run(*recommend_command, "--where", "`k` = 1")
    assert result.exit_code == 2
    assert "'`k` = 1'" in result.stderr


def test_an_option_whose_name_python_has_taken_is_said_as_an_option(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("id,title\n1,Alien\n1,Heat\n", encoding="utf-8")
    result = run("catalog", "build", str(tmp_path / "twice.csv"), "-o", str(tmp_path / "new.db"))
    assert result.exit_code == 2
    assert "--id" in result.stderr
    assert "`" not in result.stderr


WITH_A_BUG = """
from genrec_edge import cli
from genrec_edge.hub.store import ModelStore

def breaks(*arguments, **options):
    raise LookupError("line 1\\nline 2")

ModelStore.__init__ = breaks
cli.main()
"""


def test_a_bug_is_one_json_object_and_a_traceback_on_stderr() -> None:
    arguments = [sys.executable, "-c", WITH_A_BUG, "models", "list"]
    done = subprocess.run([*arguments, "--json"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "schema": "genrec-edge/error@1",
        "error": {
            "code": "bug",
            "exit": 1,
            "message": "LookupError: line 1\nline 2",
            "hint": "report it with what stands on stderr",
        },
    }
    assert done.stdout.count("\n") == 1
    assert "Traceback" in done.stderr
    assert "in breaks" in done.stderr
    plain = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    assert (plain.returncode, plain.stdout) == (1, "")
    assert "LookupError: line 1" in plain.stderr
