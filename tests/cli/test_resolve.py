"""`genrec-edge resolve`: what titles are understood as, for people and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_resolve(messy_catalog_path: Path) -> None:
    result = run("resolve", "the matrix", "Heat", "xyzzy", "--catalog", str(messy_catalog_path), "--json")
    assert result.exit_code == 3
    heats = [{"id": "2", "title": "Heat", "year": 1995}, {"id": "3", "title": "Heat", "year": 1986}]
    matrix = {"id": "007", "title": "Matrix, The", "year": 1999}
    assert json.loads(result.stdout) == {
        "schema": "genrec-edge/resolve@1",
        "matches": [
            {
                "input": "the matrix",
                "method": "normalised",
                "confidence": 0.98,
                "item": matrix,
                "candidates": [],
            },
            {"input": "Heat", "method": "ambiguous", "confidence": 0.0, "item": None, "candidates": heats},
            {"input": "xyzzy", "method": "none", "confidence": 0.0, "item": None, "candidates": []},
        ],
    }


def test_resolve_for_people(messy_catalog_path: Path) -> None:
    result = run("resolve", "teh matrx", "--catalog", str(messy_catalog_path))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.split()[-7:] == ["teh", "matrx", "fuzzy", "0.72", "Matrix,", "The", "(1999)"]
    result = run("resolve", "heat", "xyzzy", "--catalog", str(messy_catalog_path))
    assert result.exit_code == 3
    assert "Heat (1995) or (1986)?" in result.stdout
    assert "nothing like it" in result.stdout


def test_what_was_decided_is_said(messy_catalog_path: Path) -> None:
    line = '{"title": "Heat (1995)", "year": 1986}\n'
    options = ("resolve", "-", "--catalog", str(messy_catalog_path))
    (match,) = json.loads(run(*options, "--json", stdin=line).stdout)["matches"]
    assert (match["item"]["year"], match["note"]) == (1986, "the year given beside it counts, 1986, not 1995")
    assert "Heat (1986): the year given beside it counts, 1986, not 1995" in run(*options, stdin=line).stdout
    none = run(*options, stdin='{"title": "Heat (1995)", "year": 1972}\n').stdout
    assert "perhaps Heat (1995), Heat (1986); the year given beside it counts" in none


def test_resolve_reads_stdin(messy_catalog_path: Path) -> None:
    result = run("resolve", "-", "--catalog", str(messy_catalog_path), "--json", stdin="the matrix\nheat (1995)\n")
    assert result.exit_code == 0
    assert [match["item"]["id"] for match in json.loads(result.stdout)["matches"]] == ["007", "2"]


def test_lines_of_stdin_may_be_objects(messy_catalog_path: Path) -> None:
    lines = '{"title": "Heat", "year": 1986}\nid:007\n{"id": "2", "title": "Heat"}\n'
    result = run("resolve", "-", "--catalog", str(messy_catalog_path), "--json", stdin=lines)
    assert [match["item"]["id"] for match in json.loads(result.stdout)["matches"]] == ["3", "007", "2"]
    refused = run("resolve", "-", "--catalog", str(messy_catalog_path), stdin=b"Heat\nAm\xe9lie\n")
    assert (refused.exit_code, "standard input, line 2 is not UTF-8 (byte 3)" in refused.stderr) == (2, True)


def test_nothing_that_steers_a_terminal_is_printed(messy_catalog_path: Path) -> None:
    result = run("resolve", "\x1b]0;evil\x07", "--catalog", str(messy_catalog_path))
    assert "]0;evil" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_truncated_catalog_has_its_own_exit_code(messy_catalog_path: Path) -> None:
    messy_catalog_path.write_bytes(messy_catalog_path.read_bytes()[:3000])
    assert run("resolve", "heat", "--catalog", str(messy_catalog_path)).exit_code == 6
