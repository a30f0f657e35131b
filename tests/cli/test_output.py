"""What commands print with: quiet, JSON, any encoding, colour; and a missing extra told from a broken one."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from docs import generate_cli
from genrec_edge.cli.output import needs_extra
from genrec_edge.errors import MissingExtraError
from tests.support.commands import process, run, run_json, titles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")

ESCAPE = "\x1b"

COLOURED = re.compile(r"\x1b\[[0-9;]*3[0-9]")


@pytest.mark.slow
def test_quiet_means_no_word_on_stderr(recommend_command: list[str]) -> None:
    result = run(*recommend_command, "-H", "teh matrx", "-H", "heat", "-k", "2", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "title" in result.stdout
    assert run(*recommend_command, "--quiet", "--json").stderr == ""
    assert run(*recommend_command, "--json").stderr == ""


def test_values_that_json_cannot_say_become_null(tmp_path: Path, recommend_command: list[str]) -> None:
    (tmp_path / "c.csv").write_text("title,weight\nHeat,1.5\nAliens,2.5\n")
    catalog_path = tmp_path / "c.db"
    assert run("catalog", "build", str(tmp_path / "c.csv"), "-o", str(catalog_path)).exit_code == 0
    with closing(sqlite3.connect(catalog_path)) as connection:
        connection.execute("UPDATE items SET weight = 9e999 WHERE title = 'Heat'")
        connection.commit()
    weights = {
        i["title"]: i["columns"]["weight"]
        for i in run_json(*recommend_command, "--catalog", str(catalog_path), "-k", "2")["items"]
    }
    assert weights == {"Heat": None, "Aliens": 2.5}


@pytest.mark.slow
def test_any_encoding_of_the_terminal_will_do(recommend_command: list[str]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    history = ["-H", "Jaws", "-H", os.fsdecode(b"\xff\xfe")]
    document = json.loads(process([*recommend_command, *history, "-k", "57", "--json"], env=environment).stdout)
    assert "千と千尋の神隠し" in titles(document)
    assert document["unresolved"][0]["input"] == "\udcff\udcfe"
    table = process([*recommend_command, *history, "-k", "57"], env=environment)
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
def test_a_bar_does_not_appear_without_the_work_it_is_for(own_home: Path) -> None:
    run_json("catalog", "info")  # builds the films
    assert "building" not in on_a_terminal(["catalog", "info"])


@pytest.mark.slow
def test_colour_is_for_terminals_that_want_it(recommend_command: list[str]) -> None:
    arguments = [*recommend_command, "-H", "heat", "-H", "Jaws", "-k", "2"]
    assert ESCAPE in on_a_terminal(arguments)
    for variables in ({"NO_COLOR": "1"}, {"GENREC_EDGE_NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert not COLOURED.search(on_a_terminal(arguments, **variables)), variables
    assert ESCAPE not in on_a_terminal(arguments, TERM="dumb")
    piped = process(arguments)
    assert ESCAPE not in piped.stdout + piped.stderr


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["10", "40", "80"])
def test_a_narrow_window_loses_no_column(recommend_command: list[str], columns: str) -> None:
    command = ["compare", "Alien", "Fargo", *recommend_command[1:], "-H", "Jaws"]
    done = process(command, env={**os.environ, "COLUMNS": columns})
    assert done.returncode == 0, done.stderr
    heading, _, *rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert heading == ["title", "year", "preferred", "named", "first", "named", "second"]
    assert [row[0] for row in rows] == ["Alien", "Fargo"]
    assert all(len(row) == 5 for row in rows)


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = ["genrec-edge", "convert", "--out", "out", "--license", "MIT", *{more!r}]
from genrec_edge.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["gguf", "matplotlib"])
def test_a_missing_part_is_one_line_before_any_work(
    module: str, tiny_llama: Path, tricky_path: Path, own_home: Path, tmp_path: Path
) -> None:
    """Also of those modules that only the last step loads, but after the inputs were looked at."""

    def convert(*more: str) -> subprocess.CompletedProcess[str]:
        script = BLOCKER.format(module=module, more=[*map(str, more)])
        return subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    if module == "matplotlib":
        assert convert("--base", "no-such").returncode == 2
        assert convert("--base", str(tiny_llama), "--dry-run").returncode == 0
    done = convert("--base", str(tiny_llama), "--catalog", str(tricky_path))
    assert done.returncode == MissingExtraError.exit_code == 13
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()
    assert done.stderr == (
        f"error: {module} is not installed, which this command needs; pip install 'genrec-edge[convert]'\n"
    )


@pytest.mark.parametrize(
    ("name", "missing"),
    [("gguf", True), ("gguf.quants", True), ("ggufish", False), ("genrec_edge.convert.nothing", False), (None, False)],
)
def test_only_modules_of_the_extra_count_as_missing(name: str | None, missing: bool) -> None:
    with pytest.raises(MissingExtraError if missing else ModuleNotFoundError), needs_extra("convert"):
        raise ModuleNotFoundError(name=name)


@pytest.mark.slow
def test_a_broken_module_is_not_a_missing_one(tmp_path: Path, tiny_llama: Path, tricky_path: Path) -> None:
    """One of an extra that is there and lacks something of its own."""
    (tmp_path / "gguf.py").write_text("import a_module_that_is_not_there\n")
    more = ["--base", str(tiny_llama), "--catalog", str(tricky_path)]
    script = BLOCKER.format(module="nothing", more=more).replace(
        "import sys\n", f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No module named 'a_module_that_is_not_there'" in done.stderr
    assert "pip install" not in done.stderr


def test_every_command_can_be_quiet_and_print_json() -> None:
    options = {name: {o for p in command.params for o in p.opts} for name, command in generate_cli.commands().items()}
    assert len(options) > 25
    assert [name for name, taken in options.items() if not {"--quiet", "-q", "--json"} <= taken] == []
