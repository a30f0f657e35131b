"""Commands that are killed, and whose disk is full, at any moment: nothing is lost, and nothing stays behind.

The faults come between the process and libc (`faults.c`), below Python, SQLite and llama.cpp alike.
"""

from __future__ import annotations

import errno
import json
import random
import re
import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.engine.bindings import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.faulty_commands import FaultyCommands, Ran

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parent / "data" / "v0.1"
ASK = ["recommend", "--model", "tiny", "--catalog", "{root}/films.db", "--threads", "1", "-k", "5", "--json"]
HISTORY = ["-H", "Alien", "-H", "Casablanca", "-H", "Vertigo"]
COMMANDS: dict[str, list[str]] = {
    "index": [*ASK, *HISTORY],
    "calibrate": [*ASK, *HISTORY, "--calibrate", "0.5"],
    "build": ["catalog", "build", "{root}/more.csv", "-o", "{root}/new.db"],
    "build again": ["catalog", "build", "{root}/more.csv", "-o", "{root}/films.db", "--force"],
    "add": ["catalog", "add", "{root}/more.csv", "--catalog", "{root}/films.db"],
    "prior build": ["prior", "build", "--data", "made", "--split", "all", "--out", "{root}/made.prior", "--force"],
    "prior update": ["prior", "update", "--prior", "{root}/made.prior", "--interactions", "{root}/later.csv"],
    "profile": ["profile", "update", "ann", "-H", "Jaws", "-H", "Fargo", "--catalog", "{root}/films.db"],
    "forget": ["profile", "forget", "--all"],
}
ANSWERING = {"index", "calibrate"}
"""Commands that only keep what they could make again: a full disk takes no answer from them."""
TABLES = {
    "films.db": ("items", "item_values"),
    "new.db": ("items", "item_values"),
    "made.prior": ("items", "transitions", "histories"),
    "home/profiles.db": ("events",),
}
State = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def commands(faulty_commands: FaultyCommands) -> FaultyCommands:
    """Returns what runs commands beside the files of version 0.1, which are small."""
    template = faulty_commands.template
    shutil.copytree(FIXTURES / "models", template / "home" / "models")
    shutil.copytree(FIXTURES / "dataset", template / "home" / "datasets")
    shutil.copy2(FIXTURES / "profiles" / "profiles.db", template / "home" / "profiles.db")
    (template / "home" / "profiles.db").chmod(0o600)
    shutil.copy2(FIXTURES / "catalog" / "tricky.db", template / "films.db")
    shutil.copy2(FIXTURES / "prior" / "made.prior", template / "made.prior")
    shutil.copy2(FIXTURES / "prior" / "later.csv", template / "later.csv")
    rows = "".join(f'n{i},New Film {i},"Drama|Crime",{1950 + i % 70}\n' for i in range(300))
    (template / "more.csv").write_text(f"id,title,genres,year\n{rows}")
    return faulty_commands


def state(root: Path) -> State:
    """Return what is in the databases, as the next one who opens them finds it."""
    found: State = {"home/profiles.db events": []}  # also where there is no file
    for name, tables in TABLES.items():
        if (root / name).exists():
            with closing(sqlite3.connect(root / name)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                for table in tables:
                    found[f"{name} {table}"] = sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
    return found


def lasting(names: set[str]) -> set[str]:
    """Leave out what may be there or not: what was found right is remembered sooner or later, `forget` removes."""
    may_be = re.compile(r"home/(profiles\.db|cache/checked-catalogs\.json|cache/models(/[0-9a-f]{32}\.json)?)")
    return {name for name in names if not may_be.fullmatch(name)}


def answer(ran: Ran) -> list[tuple[str, float]]:
    return [(item["id"], round(item["score"], 2)) for item in ran.document["items"]]


class Undisturbed:
    """What a command does that nothing happens to: the state before and after, its files, and its run."""

    def __init__(self, commands: FaultyCommands, arguments: list[str]) -> None:
        commands.begin_anew()
        self.before = state(commands.root)
        self.ran = commands.run(arguments)
        assert self.ran.status == 0, self.ran.output
        self.after, self.names = state(commands.root), commands.names()


@pytest.fixture(scope="module")
def undisturbed(commands: FaultyCommands) -> Mapping[str, Undisturbed]:
    return {name: Undisturbed(commands, arguments) for name, arguments in COMMANDS.items()}


def assert_goes_on(name: str, commands: FaultyCommands, whole: Undisturbed) -> None:
    """Check that the same command, begun again, ends as if nothing had happened, and leaves nothing else."""
    again = commands.run(COMMANDS[name])
    assert again.status in {0, 2}, again.output  # 2: it was done, and cannot be done twice
    assert "Traceback" not in again.output
    assert state(commands.root) == whole.after
    assert lasting(commands.names()) == lasting(whole.names)
    if name in ANSWERING:
        assert answer(again) == answer(whole.ran)


def test_killed_at_any_moment_nothing_is_lost_and_nothing_stays(
    commands: FaultyCommands, undisturbed: Mapping[str, Undisturbed], trials: Callable[[int, int], int]
) -> None:
    n_killed = 0
    for seed in range(trials(9, 200)):
        name = list(COMMANDS)[seed % len(COMMANDS)]
        whole = undisturbed[name]
        commands.begin_anew()
        killed = commands.run(COMMANDS[name], kill_after_s=random.Random(seed).uniform(0, whole.ran.seconds))
        assert killed.status in {0, -9}, killed.output
        n_killed += killed.status == -9
        journals = list(commands.root.rglob("*-journal"))
        if not journals:  # else the next to open it puts the file back as it was
            assert state(commands.root) in (whole.before, whole.after), (name, seed)
        assert_goes_on(name, commands, whole)
    assert n_killed > 0


def test_with_a_disk_that_is_full_from_any_moment_on_nothing_is_lost_and_nothing_stays(
    commands: FaultyCommands, undisturbed: Mapping[str, Undisturbed], trials: Callable[[int, int], int]
) -> None:
    n_failed = 0
    for seed in range(trials(9, 200)):
        name = list(COMMANDS)[seed % len(COMMANDS)]
        whole = undisturbed[name]
        commands.begin_anew()
        fail_at = random.Random(seed).randrange(1, whole.ran.n_calls + 1)
        failed = commands.run(COMMANDS[name], fail_at=fail_at, error=errno.ENOSPC, stays=True)
        assert "Traceback" not in failed.output
        if failed.status == 0:
            if name in ANSWERING:
                assert answer(failed) == answer(whole.ran)
        else:
            n_failed += 1
            assert name not in ANSWERING, failed.output
            assert failed.status == 8, (name, fail_at, failed.output)
            (line,) = (line for line in failed.output.splitlines() if line.startswith("error: "))
            assert "bytes free)" in line
            assert state(commands.root) in (whole.before, whole.after)
        assert lasting(commands.names()) <= lasting(whole.names)
        assert_goes_on(name, commands, whole)
    assert n_failed > 0


def traces(root: Path, tokens: Mapping[str, list[int]]) -> list[str]:
    """Return where in the user's home titles of a history stand: in UTF-8, as token ids of 32 bits, or in JSON.

    Title indexes have the tokens of all titles, each by itself: there it has to be two of them, one after the other.
    """
    history = list(tokens.values())
    pairs = [[*one, *other] for one, other in pairwise(history)]
    found = []
    for path in (root / "home").rglob("*"):
        folder = path.relative_to(root / "home").parts[0]
        if not path.is_file() or folder in {"models", "datasets"}:
            continue
        is_index = path.relative_to(root / "home").parts[:2] == ("cache", "indexes")
        content = path.read_bytes()
        needles = [title.encode() for title in tokens]
        for ids in pairs if is_index else history:
            needles += [np.array(ids, "<i4").tobytes(), json.dumps(ids)[1:-1].encode()]
        found += [f"{path}: {needle!r}" for needle in needles if needle in content]
    return found


def test_after_forgetting_no_byte_of_a_history_is_left_also_of_killed_commands(
    commands: FaultyCommands, undisturbed: Mapping[str, Undisturbed], trials: Callable[[int, int], int]
) -> None:
    titles = [*HISTORY[1::2], "Jaws", "Fargo"]
    with closing(Model(next((commands.template / "home" / "models" / "tiny").glob("*.gguf")))) as model:
        tokens = {title: [*map(int, model.tokenize(title)), int(model.newline_id)] for title in titles}
    n_before = 0
    for seed in range(trials(4, 100)):
        rng = random.Random(seed)
        commands.begin_anew()
        for name in rng.sample(["index", "calibrate", "profile", "index"], 3):
            end = undisturbed[name].ran.seconds * 1.3
            commands.run(COMMANDS[name], kill_after_s=rng.uniform(0.3 * end, end))
        if rng.random() < 0.3:
            commands.run(COMMANDS["forget"], kill_after_s=rng.uniform(0, undisturbed["forget"].ran.seconds))
        n_before += len(traces(commands.root, tokens))
        forgotten = commands.run(COMMANDS["forget"])
        assert forgotten.status == 0, forgotten.output
        assert traces(commands.root, tokens) == [], seed
    assert n_before > 0
