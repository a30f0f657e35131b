"""Every program in examples/ runs as its first lines say, with a tiny model where it needs one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MAX_LINES = 60

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


def run(name: str, folder: Path, *arguments: str | Path) -> str:
    """Run an example in an empty folder and return what it printed."""
    command = [sys.executable, ROOT / "examples" / f"{name}.py", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_says_how_it_is_run_and_is_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert f"\n    python examples/{path.name}" in text
    assert len(text.splitlines()) <= MAX_LINES


def test_first_recommendation(tmp_path: Path, tiny_llama: Path) -> None:
    lines = run("first_recommendation", tmp_path, tiny_llama).splitlines()
    assert [line[:3] for line in lines[:-1]] == ["1. ", "2. ", "3. ", "4. ", "5. "]


@pytest.mark.model
def test_first_recommendation_with_the_default_model(
    tmp_path: Path, default_model: Path, real_models_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENREC_EDGE_MODELS", str(real_models_path))
    lines = run("first_recommendation", tmp_path).splitlines()
    assert [line[:3] for line in lines[:-1]] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    assert lines[-1] == "the exact top of the catalog"


def test_own_catalog(tmp_path: Path, tiny_llama: Path) -> None:
    lines = run("own_catalog", tmp_path, tiny_llama).splitlines()
    assert lines[0] == "20 books; columns: author, subjects, pages; lists: subjects"
    assert lines[1] == "4 of them satisfy subject = 'Science fiction' AND pages < 300"
    assert sorted(line[2:] for line in lines[2:]) == [
        "The Invisible Man H. G. Wells 149",
        "The Time Machine H. G. Wells 118",
        "The War of the Worlds H. G. Wells 192",
    ]


def test_many_users(tmp_path: Path, tiny_llama: Path) -> None:
    lines = run("many_users", tmp_path, tiny_llama).splitlines()
    assert [line[:13] for line in lines] == ['{"user": "ann', '{"user": "ben', '{"user": "cem']
    assert all('"exact": true' in line for line in lines)
    assert '"b18"' not in lines[2]


def test_user_profile(tmp_path: Path, tiny_llama: Path) -> None:
    lines = run("user_profile", tmp_path, tiny_llama).splitlines()
    assert lines[0].startswith("7 new books; summary: ")
    assert "Romance" in lines[0]
    assert [line[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert lines[4] == "7 events deleted"


def test_own_prior(tmp_path: Path, tiny_llama: Path) -> None:
    lines = run("own_prior", tmp_path, tiny_llama).splitlines()
    assert lines[0].startswith("24 users, 20 books, ")
    without, with_prior = lines[1:]
    assert without.startswith("prior weight 0.0: ")
    assert with_prior.startswith("prior weight 4.0: ")
    assert without.partition(": ")[2] != with_prior.partition(": ")[2]


def test_own_scores(tmp_path: Path) -> None:
    assert run("own_scores", tmp_path, tmp_path / "own.npz").startswith("24 users: HR@5 0.")
    assert (tmp_path / "own.npz").is_file()
