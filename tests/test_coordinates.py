"""That mypy tells the coordinates apart: rows, positions, item indexes and token ids are no plain integers to it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HEAD = """\
from genrec_edge.coordinates import CatalogRow, ItemIndex, TokenId, TriePosition
from genrec_edge.decoding.trie import TitleTrie
from genrec_edge.engine.llama_engine import TokenRun
from genrec_edge.serving.session import Session
def f(
    trie: TitleTrie, session: Session, row: CatalogRow, position: TriePosition, item: ItemIndex, token: TokenId
) -> None:
"""
RIGHT = """\
    trie.path(position)
    session.title_tokens(trie.row_at(position))
    TokenRun(0, (token, *session.title_tokens(row)))
"""
WRONG = """\
    trie.path(row)
    session.title_tokens(position)
    session.title_tokens(item)
    TokenRun(0, (row,))
    session.prompts.build(trie.positions(trie.rows))
"""


def lines_with_errors(path: Path, code: str) -> list[str]:
    """Write code to a file and return the lines of it that mypy finds an error in."""
    path.write_text(code, encoding="utf-8")
    cache = ROOT / ".mypy_cache" / "coordinates"  # apart from that of `.ci/types`, which has other options
    options = ["--config-file=", f"--cache-dir={cache}", "--strict", "--follow-imports=silent"]
    command = [sys.executable, "-m", "mypy", *options, "--ignore-missing-imports", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode in {0, 1}, done.stderr
    numbers = [int(n) for n in re.findall(rf"^\S*{path.name}:(\d+): error:", done.stdout, re.MULTILINE)]
    assert len(numbers) == done.stdout.count(": error:"), done.stdout
    return [code.splitlines()[number - 1] for number in numbers]


@pytest.mark.slow
def test_one_coordinate_for_another_is_an_error_of_types(tmp_path: Path) -> None:
    assert lines_with_errors(tmp_path / "snippet.py", HEAD + RIGHT + WRONG) == WRONG.splitlines()
