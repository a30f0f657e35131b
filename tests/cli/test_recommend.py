"""`genrec-edge recommend`: what a person and a script get, on which stream, with which exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest
from typer.testing import CliRunner

from genrec_edge import cli
from genrec_edge.cli.running import interruptible
from genrec_edge.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typer.testing import Result as Ran

    from genrec_edge.recommender import Recommender

pytestmark = pytest.mark.usefixtures("own_home")

ESCAPE = "\x1b"
COLOURED = re.compile(r"\x1b\[[0-9;]*3[0-9]")


@pytest.fixture(autouse=True)
def no_network(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", "1")


@pytest.fixture
def usual(tiny_llama: Path, tricky_path: Path) -> list[str]:
    """The command with the tiny model and the tricky catalog."""
    return ["recommend", "--model", str(tiny_llama), "--catalog", str(tricky_path), "--threads", "1"]


def run(*arguments: str, stdin: str | bytes | None = None) -> Ran:
    """Run a command in this process; nothing but our own exits may happen."""
    result = CliRunner().invoke(cli.app, arguments, input=stdin)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def command() -> str:
    """The console script that installing made."""
    return str(Path(sysconfig.get_path("scripts")) / "genrec-edge")


def run_json(*arguments: str, stdin: str | bytes | None = None) -> dict[str, Any]:
    result = run(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 1  # exactly one object, on one line
    return cast("dict[str, Any]", json.loads(lines[0], parse_constant=_no_such_number))


def _no_such_number(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


def titles(document: dict[str, Any]) -> list[str]:
    return [item["title"] for item in document["items"]]


def shape(value: object) -> object:
    """Return a JSON value with every leaf replaced by the name of its type."""
    if isinstance(value, dict):
        return {key: shape(below) for key, below in value.items()}
    if isinstance(value, list):
        return [shape(below) for below in value]
    return "null" if value is None else type(value).__name__


def test_the_json_object_is_the_documented_one(usual: list[str], tricky_path: Path, tiny_llama: Path) -> None:
    history = ("-H", "teh matrx", "-H", "Heat", "-H", "9999")
    document = run_json(*usual, *history, "-k", "1", "--where", "year = 1979 AND rating > 8")
    assert shape(document) == {
        "schema": "str",
        "items": [
            {
                "rank": "int",
                "id": "str",
                "title": "str",
                "year": "int",
                "score": "float",
                "logprob": "float",
                "bias": "float",
                "columns": {"genres": "str", "rating": "float"},
            }
        ],
        "exact": "bool",
        "gap": "float",
        "resolved": [{"input": "str", "id": "str", "title": "str", "method": "str", "confidence": "float"}],
        "unresolved": [
            {
                "input": "str",
                "method": "str",
                "candidates": [{"id": "str", "title": "str", "year": "int"}] * 2,
            },
            {"input": "str", "method": "str", "candidates": []},
        ],
        "left_out": [],
        "reading": "null",
        "where": "str",
        "loosened": [],
        "dropped": "int",
        "refused": "int",
        "model": {"name": "str", "path": "str", "quant": "null", "adapter": "null", "score": "str", "prompt": "str"},
        "catalog": {"name": "str", "path": "str", "items": "int", "revision": "str"},
        "timings": {
            "load_s": "float",
            "prompt_s": "float",
            "decode_s": "float",
            "engine_s": "float",
            "prompt_tokens": "int",
            "reused_tokens": "int",
            "evaluated_tokens": "int",
            "engine_calls": "int",
        },
    }
    assert document["schema"] == "genrec-edge/recommend@1"
    (item,) = document["items"]
    assert (item["rank"], item["id"], item["title"], item["year"]) == (1, "004", "Alien", 1979)
    assert item["columns"] == {"genres": "Horror, Science Fiction", "rating": 8.5}
    assert item["score"] == item["logprob"] + item["bias"]
    assert (document["exact"], document["gap"], document["dropped"]) == (True, 0, 0)
    assert document["resolved"][0] | {"confidence": 0} == {
        "input": "teh matrx",
        "id": "002",
        "title": "Matrix, The",
        "method": "fuzzy",
        "confidence": 0,
    }
    assert [u["method"] for u in document["unresolved"]] == ["ambiguous", "none"]
    assert document["model"]["path"] == str(tiny_llama)
    assert (document["catalog"]["path"], document["catalog"]["items"]) == (str(tricky_path), 60)


def test_free_text_says_how_it_became_an_item(
    bigram_llama: Callable[..., Path], tmp_path: Path, usual: list[str]
) -> None:
    model_path = bigram_llama(tmp_path / "m.gguf", {"\n": {"M": 1.0}, "M": {"\n": 1.0}})
    document = run_json(*usual, "--model", str(model_path), "-k", "2", "--decode", "free")
    assert titles(document) == ["M"]
    assert document["items"][0]["grounding"] == {"input": "M", "method": "exact", "confidence": 1.0}
    assert (document["exact"], document["gap"]) == (False, None)
    table = run(*usual, "--model", str(model_path), "-k", "2", "--decode", "free")
    assert "free text, 0 titles refused" in table.stderr


def test_a_person_gets_a_table_and_what_was_understood(usual: list[str]) -> None:
    history = ("-H", "Jaws", "-H", "teh matrx", "-H", "heat", "-H", "9999")
    result = run(*usual, *history, "-k", "60", "--allow-seen")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    assert lines[0].split() == ["#", "title", "year", "genres", "score", "probability"]
    ranked = [line.split() for line in lines if re.match(r"\s*\d+ ", line)]
    assert [cells[0] for cells in ranked] == [str(rank) for rank in range(1, 61)]
    assert all(cells[-1].endswith("%") for cells in ranked)
    for cell in ("Jaws", "1975", "Horror", "Thriller", "千と千尋の神隠し", "8½"):
        assert cell in result.stdout
    said = result.stderr.splitlines()
    assert re.fullmatch(r"understood 'teh matrx' as Matrix, The \(1999\) \[fuzzy, 0\.\d\d\]", said[0])
    assert said[1] == "left out 'heat': it could be several items; near: Heat (1995), Heat (1986)"
    assert said[2] == "left out '9999': it is not in the catalog"
    assert re.fullmatch(
        r"the exact top of the catalog; loaded in [\d.]+ s, prompt [\d.]+ s \(\d+ tokens, 0 reused\), "
        r"search [\d.]+ s \(\d+ tokens\)",
        said[3],
    )
    assert len(said) == 4  # "Jaws" was understood literally: nothing to say


def test_dropped_titles_are_mentioned(usual: list[str]) -> None:
    enjoyed = ("Vertigo", "Casablanca", "Chinatown", "Rear Window", "Trainspotting", "Groundhog Day", "Psycho")
    long = [f"--history={title}" for title in (*enjoyed, "Some Like It Hot", "The Princess Bride", "Blade Runner")]
    few = [*usual, "--ctx", "256", "-k", "1"]
    n_dropped = run_json(*few, *long)["dropped"]
    assert n_dropped > 1
    said = run(*few, *long).stderr
    assert f"the {n_dropped} oldest titles are left out: more than the model reads at once" in said
    assert "the oldest title is left out" in run(*few, *long[n_dropped - 1 :]).stderr


def test_quiet_means_no_word_on_stderr(usual: list[str]) -> None:
    result = run(*usual, "-H", "teh matrx", "-H", "heat", "-k", "2", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "title" in result.stdout
    assert run(*usual, "--quiet", "--json").stderr == ""
    assert run(*usual, "--json").stderr == ""


@pytest.mark.slow
def test_every_option_reaches_the_request(usual: list[str]) -> None:
    assert len(run_json(*usual)["items"]) == 10
    score_all = titles(run_json(*usual, "-H", "Jaws", "-k", "59"))
    assert "Jaws" not in score_all
    assert "Jaws" in titles(run_json(*usual, "-H", "Jaws", "-k", "60", "--allow-seen"))
    best = score_all[0]
    assert best not in titles(run_json(*usual, "-H", "Jaws", "-k", "3", "--exclude", best))
    chosen = run_json(*usual, "-k", "2", "--candidate", "Alien", "--candidate", "005")
    assert set(titles(chosen)) == {"Alien", "Aliens"}
    beam = run_json(*usual, "-H", "Jaws", "-k", "3", "--decode", "beam")
    assert len(beam["items"]) == 3
    by_catalog = run_json(*usual, "-k", "60", "--score", "catalog")
    assert by_catalog["model"]["score"] == "catalog"
    rated = '{"title": "Jaws", "rating": 5}\n{"title": "Fargo", "rating": 1}\n'
    strict = run_json(*usual, "--history-file", "-", "--min-rating", "3", stdin=rated)
    lax = run_json(*usual, "--history-file", "-", stdin=rated)
    assert strict["timings"]["prompt_tokens"] < lax["timings"]["prompt_tokens"]
    sampled = [run_json(*usual, "--decode", "free", "--temperature", "1", "--seed", seed)["refused"] for seed in "1122"]
    assert sampled[:1] * 2 + sampled[2:3] * 2 == sampled


def test_the_history_comes_from_a_file_from_stdin_and_from_options(usual: list[str], tmp_path: Path) -> None:
    path = tmp_path / "history.txt"
    path.write_text('Jaws\n\n{"id": "004"}\n', encoding="utf-8-sig")
    from_file = run_json(*usual, "--history-file", str(path), "-H", "Fargo", "-k", "1")
    assert [r["input"] for r in from_file["resolved"]] == ["Jaws", "004", "Fargo"]
    from_stdin = run_json(*usual, "--history-file", "-", "-H", "Fargo", "-k", "1", stdin=path.read_bytes())
    assert from_stdin["resolved"] == from_file["resolved"]
    assert titles(from_stdin) == titles(from_file)


def test_values_that_json_cannot_say_become_null(tmp_path: Path, usual: list[str]) -> None:
    (tmp_path / "c.csv").write_text("title,weight\nHeat,1.5\nAliens,2.5\n")
    catalog_path = tmp_path / "c.db"
    assert run("catalog", "build", str(tmp_path / "c.csv"), "-o", str(catalog_path)).exit_code == 0
    with closing(sqlite3.connect(catalog_path)) as connection:
        connection.execute("UPDATE items SET weight = 9e999 WHERE title = 'Heat'")
        connection.commit()
    weights = {
        i["title"]: i["columns"]["weight"] for i in run_json(*usual, "--catalog", str(catalog_path), "-k", "2")["items"]
    }
    assert weights == {"Heat": None, "Aliens": 2.5}


@pytest.fixture
def broken(tmp_path: Path, tiny_llama: Path, tricky_path: Path, tiny_gguf: Callable[..., Path]) -> Path:
    """A folder of files that are not what they should be."""
    (tmp_path / "text.gguf").write_text("this is no model\n")
    (tmp_path / "empty.gguf").touch()
    whole = tiny_llama.read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.gguf").write_bytes(whole[:100])
    tiny_gguf(tmp_path / "bert.gguf", architecture="bert")
    tiny_gguf(tmp_path / "short.gguf")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "text.db").write_text("title\nHeat\n")
    (tmp_path / "empty-file.db").touch()
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as connection:
        connection.execute("CREATE TABLE films(title TEXT)")
    catalog = tricky_path.read_bytes()
    (tmp_path / "half.db").write_bytes(catalog[: len(catalog) // 2])
    (tmp_path / "corrupt.db").write_bytes(catalog[:4096] + b"\xa5" * (len(catalog) - 4096))
    shutil.copy(tricky_path, tmp_path / "empty.db")
    with closing(sqlite3.connect(tmp_path / "empty.db")) as connection:
        connection.execute("DELETE FROM items")
        connection.commit()
    (tmp_path / "latin1.txt").write_bytes(b"Jaws\nAm\xe9lie\n")
    (tmp_path / "bad.jsonl").write_text('{"title": "Jaws"}\n{"title": \n')
    (tmp_path / "untitled.csv").write_text("a,b\n1,2\n")
    return tmp_path


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
    pytest.param(["--exclude", "no such film"], 2, "usage", "'no such film'", id="unknown exclusion"),
    pytest.param(["--candidate", "no such film"], 2, "usage", "'no such film'", id="unknown candidate"),
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
    usual: list[str], broken: Path, options: list[str], exit_code: int, code: str, message: str
) -> None:
    (broken / "long.txt").write_text('{"id": "021"}\n')
    arguments = [*usual, *(option.replace("{}", str(broken)) for option in options)]
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


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["build", "{}/untitled.csv", "-o", "{}/new.db"], 2, "title"),
        (["build", "{}/none.csv", "-o", "{}/new.db"], 2, "none.csv"),
        (["build", "{}/untitled.csv", "--title", "c", "-o", "{}/new.db"], 2, "'c'"),
        (["info", "--catalog", "{}/foreign.db"], 6, "another program"),
        (["search", "x", "--catalog", "{}/half.db"], 6, "cut off"),
    ],
)
def test_bad_input_of_the_catalog_commands(broken: Path, arguments: list[str], exit_code: int, message: str) -> None:
    result = run("catalog", *(argument.replace("{}", str(broken)) for argument in arguments))
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (broken / "new.db").exists()


@pytest.mark.slow
def test_unknown_options_and_missing_values_are_usage_errors(usual: list[str]) -> None:
    for wrong in (
        ["--no-such-option"],
        ["-k", "ten"],
        ["--decode", "magic"],
        ["--score", "x"],
        ["--history"],
        ["extra"],
    ):
        result = run(*usual, *wrong)
        assert (result.exit_code, result.stdout) == (2, "")
        assert wrong[0] in result.stderr


@pytest.mark.slow
def test_a_message_cannot_steer_the_terminal(usual: list[str]) -> None:
    nasty = "x\x1b[2J\x1b]0;owned\x07\u202e\ny"
    for result in (
        run(*usual, "-H", nasty),
        run(*usual, "-H", "Jaws", "-H", nasty),
        run(*usual, "--exclude", nasty),
    ):
        assert result.stderr
        for line in (result.stderr + result.stdout).splitlines():
            assert all(character.isprintable() for character in line)
    assert run_json(*usual, "-H", "Jaws", "-H", nasty)["unresolved"][0]["input"] == nasty


def process(arguments: list[str], *, code: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command, or Python `code` before it, in a process of its own."""
    start = [command()] if code is None else [sys.executable, "-c", code]
    streams: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return subprocess.run([*start, *arguments], text=True, check=False, timeout=300, **{**streams, **options})


@pytest.mark.slow
def test_the_installed_command_keeps_the_streams_apart(usual: list[str]) -> None:
    done = process([*usual, "-H", "Jaws", "-H", "heat", "-k", "2", "--json"])
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["items"]) == 2
    failed = process([*usual, "-k", "99"])
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
def test_piping_into_head_shows_the_first_lines(usual: list[str]) -> None:
    script = f'set -o pipefail; "{command()}" "$@" | head -n 2'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", *usual, "-k", "60", "--quiet"],
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
def test_a_full_disk_is_one_line_and_exit_8(usual: list[str], output: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = process([*usual, "--quiet", *output], stdout=full)
    assert done.returncode == 8
    assert done.stderr == "error: cannot write the output: no space is left on the device\n"


@pytest.mark.slow
def test_closed_streams_are_no_traceback(usual: list[str]) -> None:
    """Descriptors 0 to 2 must not go to the catalog or the model, or messages would be written into them."""
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        script = f'exec "$@" {closed}'
        done = subprocess.run(
            ["/bin/bash", "-c", script, "bash", command(), *usual, "-k", "2", "--json"],
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
def test_any_encoding_of_the_terminal_will_do(usual: list[str]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    history = ["-H", "Jaws", "-H", os.fsdecode(b"\xff\xfe")]
    document = json.loads(process([*usual, *history, "-k", "57", "--json"], env=environment).stdout)
    assert "千と千尋の神隠し" in titles(document)
    assert document["unresolved"][0]["input"] == "\udcff\udcfe"
    table = process([*usual, *history, "-k", "57"], env=environment)
    assert table.returncode == 0
    assert "WALL" in table.stdout
    assert table.stdout.isascii()


def on_a_terminal(arguments: list[str], **variables: str) -> str:
    """Return what a command writes to a terminal 120 columns wide."""
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **variables}
    main_end, child_end = pty.openpty()
    try:
        done = process(arguments, stdout=child_end, stderr=child_end, env=environment)
    finally:
        os.close(child_end)
    written = b""
    with open(main_end, "rb", buffering=0, closefd=True) as terminal:  # noqa: PTH123 - a descriptor
        try:
            while chunk := terminal.read(65536):
                written += chunk
        except OSError:
            pass  # Linux's way to say that the other end is closed
    assert done.returncode == 0
    return written.decode()


@pytest.mark.slow
def test_colour_is_for_terminals_that_want_it(usual: list[str]) -> None:
    arguments = [*usual, "-H", "heat", "-H", "Jaws", "-k", "2"]
    assert ESCAPE in on_a_terminal(arguments)
    for variables in ({"NO_COLOR": "1"}, {"GENREC_EDGE_NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert not COLOURED.search(on_a_terminal(arguments, **variables)), variables
    assert ESCAPE not in on_a_terminal(arguments, TERM="dumb")
    piped = process(arguments)
    assert ESCAPE not in piped.stdout + piped.stderr


class Endless:
    """A recommender whose answer takes until it is cancelled."""

    def __init__(self, at_work: Callable[[], object]) -> None:
        self._at_work = at_work
        self._cancelled = threading.Event()

    def answer(self) -> NoReturn:
        self._at_work()
        assert self._cancelled.wait(60), "nobody cancelled"
        raise CancelledError("cancelled")

    def cancel(self) -> None:
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()


@pytest.fixture
def own_handler() -> Iterator[None]:
    """Sets Python's usual answer to Ctrl-C for a test, and gives the test runner its own back."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def test_ctrl_c_cancels_the_request(own_handler: None) -> None:
    endless = Endless(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        interruptible(cast("Recommender", endless), endless.answer)
    assert endless.is_cancelled
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # a second one kills


ENDLESS_SEARCH = """
import signal, sys
from genrec_edge import cli
from genrec_edge.engine import llama_engine
signal.signal(signal.SIGINT, signal.default_int_handler)
evaluate = llama_engine.LlamaEngine.evaluate

def endless(self, runs, worth):
    sys.stderr.write("searching\\n")
    sys.stderr.flush()
    while True:
        for _ in evaluate(self, list(runs), worth):
            pass

llama_engine.LlamaEngine.evaluate = endless
cli.main()
"""
DEAF_SEARCH = """
import signal, sys, threading
from genrec_edge import cli, recommender
signal.signal(signal.SIGINT, signal.default_int_handler)

def answer(self, request):
    sys.stderr.write("searching\\n")
    sys.stderr.flush()
    threading.Event().wait()

def cancel(self):
    sys.stderr.write("cancelling\\n")
    sys.stderr.flush()

recommender.Recommender.answer = answer
recommender.Recommender.cancel = cancel
cli.main()
"""


def interrupted(code: str, arguments: list[str], *, after: list[str]) -> tuple[int, str, str]:
    """Run `code` and send SIGINT after each of the lines it prints on stderr; return exit code, stdout, the rest."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        try:
            for line in after:
                assert running.stderr.readline() == f"{line}\n"
                running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=120)
        finally:
            running.kill()  # only where the test has failed it is still there
    return running.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("output", [[], ["--json"]])
def test_ctrl_c_during_a_search_is_one_word_and_exit_130(usual: list[str], output: list[str]) -> None:
    done = interrupted(ENDLESS_SEARCH, [*usual, *output], after=["searching"])
    assert done == (130, "", "interrupted\n")


@pytest.mark.slow
def test_a_second_ctrl_c_kills(usual: list[str]) -> None:
    exit_code, out, _ = interrupted(DEAF_SEARCH, usual, after=["searching", "cancelling"])
    assert (exit_code, out) == (-signal.SIGINT, "")


def test_a_timeout_is_exit_10(usual: list[str]) -> None:
    done = process([*usual, "--timeout", "0.01"], code=ENDLESS_SEARCH)
    assert (done.returncode, done.stdout) == (10, "")
    assert done.stderr.splitlines()[-1].startswith("error: the request took longer than ")


@pytest.mark.slow
def test_a_bug_can_be_traced(usual: list[str]) -> None:
    environment = {**os.environ, "GENREC_EDGE_DEBUG": "1"}
    done = process([*usual, "-k", "99"], env=environment)
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 99 items asked for")
