"""Commands run in this process or in one of their own, and files that are not what they should be."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest
from typer.testing import CliRunner

from genrec_edge import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typer.testing import Result as Ran


@pytest.fixture
def offline_home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Moves every folder of the user below `tmp_path`, and forbids the network."""
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", "1")
    return own_home


@pytest.fixture
def recommend_command(tiny_llama: Path, tricky_path: Path) -> list[str]:
    """Returns the command with the tiny model and the tricky catalog."""
    return ["recommend", "--model", str(tiny_llama), "--catalog", str(tricky_path), "--threads", "1"]


@pytest.fixture
def films_options(
    offline_home: Path, smollm2: Path, films_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, ...]:
    """Returns options for the real model and the films; goes to `tmp_path`, and makes lines 150 characters wide."""
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.chdir(tmp_path)
    return ("--model", str(smollm2), "--catalog", str(films_path))


@pytest.fixture
def broken_files(tmp_path: Path, tiny_llama: Path, tricky_path: Path, tiny_gguf: Callable[..., Path]) -> Path:
    """Returns a folder of files that are not what they should be."""
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


def run(*arguments: str, stdin: str | bytes | None = None) -> Ran:
    """Run a command in this process; nothing but our own exits may happen."""
    result = CliRunner().invoke(cli.app, arguments, input=stdin)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def run_text(*arguments: str, stdin: str | None = None) -> Ran:
    """Run a command that has to succeed."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result


def run_json(*arguments: str, stdin: str | bytes | None = None) -> dict[str, Any]:
    """Run a command with --json that has to succeed, and return the one object that it prints."""
    result = run(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 1  # exactly one object, on one line
    return cast("dict[str, Any]", json.loads(lines[0], parse_constant=_no_such_number))


def assert_one_line(arguments: Sequence[str], message: str, *, exit_code: int = 2) -> None:
    """Check that a command ends with an exit code and one line of error, or one JSON object, with this message."""
    result = run(*arguments)
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    document = json.loads(run(*arguments, "--json").stdout)
    assert message in document["error"]["message"]


def titles(document: dict[str, Any]) -> list[str]:
    """Return the titles of the items of a JSON object."""
    return [item["title"] for item in document["items"]]


def installed_command() -> str:
    """Return the path of the console script that installing made."""
    return str(Path(sysconfig.get_path("scripts")) / "genrec-edge")


def process(arguments: list[str], *, code: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command, or Python `code` before it, in a process of its own."""
    start = [installed_command()] if code is None else [sys.executable, "-c", code]
    streams: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return subprocess.run([*start, *arguments], text=True, check=False, timeout=300, **{**streams, **options})


def _no_such_number(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")
