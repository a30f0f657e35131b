"""The program as a whole: its version, and options that stand before a command."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from genrec_edge import __version__
from genrec_edge.engine.build_info import build_info
from tests.support.commands import run, run_json, run_text

pytestmark = pytest.mark.usefixtures("offline_home")


def test_the_version_is_one_line() -> None:
    assert run_text("--version").stdout == f"genrec-edge {__version__}\n"


def test_the_version_as_json_says_the_build_and_the_cpu() -> None:
    document = run_json("--version")
    expected = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(build_info()).items()
    }
    assert document == {"schema": "genrec-edge/version@1", **expected}


def test_json_before_a_command_is_refused() -> None:
    result = run("--json", "catalog", "info")
    assert (result.exit_code, result.stderr) == (2, "")
    assert json.loads(result.stdout)["error"]["message"] == "--json stands before the command"
