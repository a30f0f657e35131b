"""Every command in the blocks of README and docs/ runs as printed, or is listed here with the reason why not."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.folders import ROOT
from tests.support.readers import Reader, fill_shelf, put_files
from tests.test_docs import problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of transformers, by peft

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "convert" / "README.md"]
_INDENTED = re.compile(r"(?:^ {4}.*\n(?:[ \t]*\n(?= {4}))*)+", re.MULTILINE)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?:\$ )?((?:genrec-edge|python3?|pip|accelerate) .*)")

NOT_RUN = [
    (r"python3 -m venv", ".ci/run does it, in a fresh checkout"),
    (r"pip (install|download)", "needs a package index; .ci/run installs both extras"),
    (r"python -m zipfile", "unpacks what the line before has downloaded"),
    (
        r"python benchmarks/synthetic_llama",
        "writes 13 GB; tests/benchmarks/test_synthetic_llama.py has it write a small one",
    ),
    (r"python -m genrec_edge\.convert\.pipeline\.pack", "names no files; tests/convert/pipeline/test_pack.py runs it"),
    (r"python -m benchmarks\.convert", "converts these 13 GB; its options are read here"),
    (r"python (-m benchmarks\.|benchmarks/)", "minutes to hours; its options are read here"),
    (r"accelerate launch", "needs two GPUs; tests/convert/training/test_kill_and_resume.py has it start two processes"),
    (r"genrec-edge batch .*--engine ray", "needs a Ray cluster; tests/batch/test_ray.py starts one"),
    (r"genrec-edge convert .*--adapter models/genrec-films", "needs the base that it was made for, a gigabyte"),
    (r"genrec-edge evaluate .*--model films-q8_0", "its models are what the line before makes of the base"),
]
"""Beginnings of commands that do not run here, and why. Their commands and options exist all the same."""

EXIT_CODES = {'genrec-edge resolve "teh matrx" "Hamlet"': 3}
"""Of beginnings of commands whose example shows what is not found."""


def blocks(text: str) -> Iterator[str]:
    """Yield the text of each block of a document, indented or fenced, in its order."""
    found = [(match.start(), match[2]) for match in _FENCED.finditer(text)]
    outside = _FENCED.sub(lambda match: re.sub(".", "x", match[0]), text)  # as long, so that places stay
    shift = {match.start(): match[0] for match in _INDENTED.finditer(outside)}
    found += [(start, re.sub(r"^ {4}", "", block, flags=re.MULTILINE)) for start, block in shift.items()]
    return (block for _, block in sorted(found))


def commands_of(path: Path) -> list[str]:
    """Return the commands in the blocks of a document, as printed; continued lines are joined."""
    lines = [
        line for block in blocks(path.read_text(encoding="utf-8")) for line in block.replace("\\\n", " ").splitlines()
    ]
    return [match[1] for line in lines if (match := _COMMAND.fullmatch(line))]


def why_not_run(command: str) -> str:
    return next((reason for pattern, reason in NOT_RUN if re.match(pattern, command)), "")


ALL = [(path, command) for path in DOCUMENTS for command in commands_of(path)]


def test_blocks_are_found_however_they_are_marked() -> None:
    text = "a\n\n    one \\\n      two\n\n    three\n\nb\n\n```console\n$ four\n```\n\n    five\n"
    assert list(blocks(text)) == ["one \\\n  two\n\nthree\n", "$ four\n", "five\n"]


def test_there_are_many_and_most_of_them_run() -> None:
    run = [command for _, command in ALL if not why_not_run(command)]
    assert len(ALL) > 60
    assert len(run) > 40
    for pattern, reason in NOT_RUN:
        assert any(re.match(pattern, command) for _, command in ALL), f"no such command any more: {reason}"
        assert [name for name in re.findall(r"tests/[\w/]+\.py", reason) if not (ROOT / name).is_file()] == []


def test_the_line_that_starts_several_processes_is_the_one_that_is_tested() -> None:
    tested = (ROOT / "tests" / "convert" / "training" / "test_kill_and_resume.py").read_text(encoding="utf-8")
    options = re.search(r'^LAUNCH = "(.+)"$', tested, re.MULTILINE)
    assert options
    shown = [command for _, command in ALL if command.startswith("accelerate launch")]
    assert [" ".join(command.split()).partition(" --no_python ")[0] for command in shown] == [
        f"accelerate launch {options[1]}"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({c for _, c in ALL if why_not_run(c)}))
def test_what_is_not_run_is_a_call_that_exists(command: str) -> None:
    if "genrec-edge " in command and not command.startswith(("pip", "python")):
        assert problem(command[command.index("genrec-edge ") :]) == ""
    if match := re.match(r"python (-m benchmarks\.\w+|benchmarks/\w+\.py)", command):
        shown = subprocess.run(
            [sys.executable, *match[1].split(), "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0, shown.stderr
        options = re.findall(r"(?<!\S)--?[a-z][\w-]*", command[match.end() :])
        assert [option for option in options if option not in shown.stdout] == []


@pytest.fixture(scope="module")
def shelf(default_model: Path, films_path: Path, ml_100k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with what every reader starts with."""
    folder = tmp_path_factory.mktemp("shelf")
    fill_shelf(folder, default_model, films_path, ml_100k)
    return folder


@pytest.fixture
def reader(
    shelf: Path,
    films_path: Path,
    ml_100k: Path,
    recbole_wheel: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Reader:
    """Returns a reader with every file that a document names and does not make."""
    users = [block for block in blocks((ROOT / "docs" / "cli.md").read_text("utf-8")) if block.startswith('{"user"')]
    put_files(tmp_path, shelf, films_path, ml_100k, users[0])
    variables = {"PIP_FIND_LINKS": str(recbole_wheel.parent), "PIP_NO_INDEX": "1"}
    return Reader(tmp_path, tmp_path_factory.mktemp("home"), shelf, variables)


RUN = [path for path in DOCUMENTS if any(not why_not_run(command) for command in commands_of(path))]


@pytest.mark.model
@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_every_command_of_a_document_runs_as_printed(path: Path, reader: Reader) -> None:
    """One after the other, in one folder. Bases are narrow, and of each data set there are 20 users."""
    for command in commands_of(path):
        if why_not_run(command):
            continue
        done = reader.does(command)
        expected = next((code for start, code in EXIT_CODES.items() if command.startswith(start)), 0)
        assert done.returncode == expected, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr
