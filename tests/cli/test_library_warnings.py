"""What the library has to say beside an answer is said on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.storage import paths
from tests.support.commands import run_json, run_text, titles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")


def test_a_cache_that_cannot_be_written_takes_no_answer_and_is_said(
    recommend_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*recommend_command, "-H", "Alien", "-k", "3"]
    expected = titles(run_json(*command))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GENREC_EDGE_CACHE", str(tmp_path / "file"))
    assert titles(run_json(*command)) == expected
    said = run_text(*command).stderr.splitlines()
    assert [line for line in said if line.startswith(f"the title index is not kept in {tmp_path / 'file'}")], said
    assert run_text(*command, "--quiet").stderr == ""


def test_a_home_that_is_a_file_takes_no_answer(
    recommend_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*recommend_command, "-H", "Alien", "-k", "3"]
    expected = titles(run_json(*command))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GENREC_EDGE_HOME", str(tmp_path / "file"))
    assert titles(run_json(*command)) == expected


def test_a_damaged_index_is_said_once(recommend_command: list[str]) -> None:
    command = [*recommend_command, "-H", "Alien", "-k", "3"]
    expected = titles(run_json(*command))
    (tokens,) = paths.cache_path().glob("indexes/*/trie/tokens.npy")
    tokens.write_bytes(tokens.read_bytes()[:-4] + b"\1\2\0\0")
    for said in (["damaged"], []):
        ran = run_text(*command)
        assert [word for word in ("damaged",) if word in ran.stderr] == said
        assert titles(run_json(*command)) == expected
