"""Every command in the blocks of README and docs/ runs as printed, or is listed here with the reason why not."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.converted_models import converted_models
from tests.support.folders import ROOT
from tests.test_docs import command_words, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["converted_models"]  # a fixture

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of transformers, by peft

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "convert" / "README.md"]
_INDENTED = re.compile(r"(?:^ {4}.*\n(?:[ \t]*\n(?= {4}))*)+", re.MULTILINE)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?:\$ )?((?:genrec-edge|python3?|pip|accelerate) .*)")

NOT_RUN = [
    (r"python3 -m venv", ".ci/run does it, in a fresh checkout"),
    (r"pip (install|download)", "needs a package index; .ci/run installs both extras"),
    (r"python -m zipfile", "unpacks what the line before has downloaded"),
    (r"python (-m benchmarks\.|benchmarks/)", "minutes to hours; its options are read here"),
    (r"accelerate launch", "needs two GPUs; tests/convert/training/test_kill_and_resume.py runs two processes"),
    (r"genrec-edge train", "trains for hours; tests/cli/test_train.py trains a tiny model"),
    (r"genrec-edge batch .*--engine ray", "needs a Ray cluster; tests/batch/test_ray.py starts one"),
    (r"genrec-edge convert .*(\[--adapter|models/genrec-films)", "the form of a call; needs the base, a gigabyte"),
    (r"genrec-edge convert .*--adapter adapter", "its adapter is what the line before trains"),
    (r"genrec-edge evaluate .*--model films-q8_0", "its models are what the line before makes of the base"),
]
"""Beginnings of commands that do not run here, and why. Their commands and options exist all the same."""

EXIT_CODES = {"resolve": 3}
"""Of commands whose example shows what is not found."""


def blocks(text: str) -> Iterator[str]:
    """Yield the text of each block of a document, indented or fenced, in its order."""
    found = [(match.start(), match[2]) for match in _FENCED.finditer(text)]
    outside = _FENCED.sub(lambda match: "\n" * match[0].count("\n") + " " * 0, text)
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
    assert sorted(blocks(text)) == ["$ four\n", "five\n", "one \\\n  two\n\nthree\n"]


def test_there_are_many_and_most_of_them_run() -> None:
    run = [command for _, command in ALL if not why_not_run(command)]
    assert len(ALL) > 60
    assert len(run) > 40
    for pattern, reason in NOT_RUN:
        assert any(re.match(pattern, command) for _, command in ALL), f"no such command any more: {reason}"


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({c for _, c in ALL if why_not_run(c)}))
def test_what_is_not_run_is_a_call_that_exists(command: str) -> None:
    if "genrec-edge " in command and not command.startswith(("pip", "python")):
        assert problem(command[command.index("genrec-edge ") :].replace("[", "").replace("]", "")) == ""
    if match := re.match(r"python (-m benchmarks\.\w+|benchmarks/\w+\.py)", command):
        shown = subprocess.run(
            [sys.executable, *match[1].split(), "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0, shown.stderr
        options = re.findall(r"(?<!\S)--?[a-z][\w-]*", command[match.end() :])
        assert [option for option in options if option not in shown.stdout] == []


def dump(catalog: Path, target: Path, where: str) -> list[str]:
    """Write items of a catalog as CSV, and return their ids."""
    with closing(sqlite3.connect(catalog)) as connection:
        rows = connection.execute(f"SELECT id, title, year, genres FROM items WHERE {where}").fetchall()
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "title", "year", "genres"), *rows])
    return [str(row[0]) for row in rows]


def small_part(data: Path, target: Path, n_users: int) -> None:
    """Make a data set of the first users of another, under its name: what takes minutes takes seconds."""
    from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files

    target.parent.mkdir(parents=True, exist_ok=True)
    dump(data / "catalog.db", target.with_name("items.csv"), "1")
    with (data / "interactions.csv").open(newline="", encoding="utf-8") as file:
        heading, *rows = list(csv.reader(file))
    users = sorted({row[0] for row in rows})[:n_users]
    with target.with_name("events.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([heading, *(row for row in rows if row[0] in users)])
    about = DatasetInfo("ml-100k", "a part of MovieLens 100K", "LicenseRef-GroupLens")
    events, items = target.with_name("events.csv"), target.with_name("items.csv")
    import_files(events, items, target, about, ColumnNames(), force=True, on_event=lambda *_: None)


class Reader:
    """Somebody who does what a document says, with the files that it names at hand."""

    def __init__(self, folder: Path, variables: dict[str, str], part: Path) -> None:
        self._folder = folder
        self._variables = variables
        self._part = part
        self._data = Path(variables["GENREC_EDGE_DATASETS"]) / "ml-100k"
        self._use_the_part()

    def does(self, command: str) -> subprocess.CompletedProcess[str]:
        is_pull = command.startswith("genrec-edge data pull")
        if is_pull:
            shutil.rmtree(self._data)
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=590,
        )
        if is_pull:
            self._use_the_part()
        return done

    def _use_the_part(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        shutil.copytree(self._part, self._data)


@pytest.fixture(scope="module")
def home(
    default_model: Path,
    films_path: Path,
    ml_100k: Path,
    recbole_wheel: Path,
    converted_models: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Returns the environment of a reader: the default model, models named `tuned`, and the data set ml-100k."""
    folder = tmp_path_factory.mktemp("home")
    scripts = sysconfig.get_path("scripts")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GENREC_EDGE_")}
    variables |= {
        "GENREC_EDGE_HOME": str(folder),
        "GENREC_EDGE_DATASETS": str(folder / "datasets"),
        "GENREC_EDGE_CATALOGS": str(films_path.parent),
        "PIP_FIND_LINKS": str(recbole_wheel.parent),
        "PIP_NO_INDEX": "1",
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
    }
    (folder / "models").mkdir()
    shutil.copytree(default_model.parent, folder / "models" / "genrec-films")
    tuned = f"--base {converted_models.f16} --out {folder}/tuned --quant F16,Q8_0,Q4_0 --license MIT --verify none"
    command = [str(Path(scripts) / "genrec-edge"), "convert", *tuned.split(), "-q"]
    subprocess.run(command, env=variables, check=True, timeout=300)
    small_part(ml_100k, folder / "part" / "ml-100k", 40)
    return variables


@pytest.fixture
def reader(
    home: dict[str, str], default_model: Path, films_path: Path, ml_100k: Path, converted_models: Any, tmp_path: Path
) -> Reader:
    """Returns a reader with every file that a document names and does not make."""
    ids = dump(films_path, tmp_path / "films.csv", "year >= 1995 LIMIT 400")
    shutil.copy(tmp_path / "films.csv", tmp_path / "items.csv")
    shutil.copy(tmp_path / "films.csv", tmp_path / "movies.csv")
    events = [(user, ids[(7 * user + 3 * i) % len(ids)], 1000 + i, 4) for user in range(30) for i in range(8)]
    for name in ("events.csv", "ratings.csv"):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("user", "item", "timestamp", "rating"), *events])
    with closing(sqlite3.connect(ml_100k / "catalog.db")) as connection:
        (known,) = connection.execute("SELECT id FROM items").fetchone()
    (tmp_path / "new.csv").write_text(f"user,item,timestamp\nnew,{known},2000000000\n", encoding="utf-8")
    with closing(sqlite3.connect(films_path)) as connection:
        query = f"SELECT title, year FROM items WHERE id IN ({','.join('?' * 3)})"
        watched = [f"{title} ({year})\n" for title, year in connection.execute(query, ids[:3])]
    (tmp_path / "watched.txt").write_text("".join(watched), encoding="utf-8")
    shelf = ["The Terminator", "Babe", "2001: A Space Odyssey", "Sense and Sensibility"]
    (tmp_path / "shelf.txt").write_text("\n".join(shelf), encoding="utf-8")
    users = [block for block in blocks((ROOT / "docs" / "cli.md").read_text("utf-8")) if block.startswith('{"user"')]
    (tmp_path / "users.jsonl").write_text(users[0], encoding="utf-8")
    write_parquet([json.loads(line) for line in users[0].splitlines()], tmp_path / "users.parquet")
    shutil.copy(default_model, tmp_path / "FILE")
    for name in ("SmolLM2-135M", "BASE"):
        shutil.copytree(converted_models.checkpoint, tmp_path / name)
    for name in ("films-lora", "adapter"):
        save_lora(tmp_path / name, converted_models.checkpoint)
    shutil.copy(ROOT / "models" / "genrec-films" / "genrec_edge.json", tmp_path / "adapter")
    return Reader(tmp_path, home, Path(home["GENREC_EDGE_HOME"]) / "part" / "ml-100k")


def write_parquet(users: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    histories = [[entry if isinstance(entry, dict) else {"title": entry} for entry in u["history"]] for u in users]
    pq.write_table(pa.table({"user": [str(u["user"]) for u in users], "history": histories}), path)


def save_lora(folder: Path, base: Path) -> None:
    """Save a small LoRA of PEFT for a base; its A and B are random."""
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, task_type="CAUSAL_LM", init_lora_weights=False, target_modules=["q_proj", "v_proj"]
    )
    peft.get_peft_model(model, config).save_pretrained(str(folder))


NOT_YET = {"docs/cli.md", "docs/training.md", "convert/README.md"}
"""Documents whose blocks have not been seen to run as a whole; to be emptied."""
RUN = [
    path
    for path in DOCUMENTS
    if str(path.relative_to(ROOT)) not in NOT_YET and any(not why_not_run(command) for command in commands_of(path))
]


@pytest.mark.model
@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_every_command_of_a_document_runs_as_printed(path: Path, reader: Reader) -> None:
    """One after the other, in one folder. Of ml-100k there are 40 users."""
    for command in commands_of(path):
        if why_not_run(command):
            continue
        done = reader.does(command)
        is_not_found = any(word in command_words(command) for word in EXIT_CODES) and "Hamlet" in command
        assert done.returncode == (3 if is_not_found else 0), f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr
