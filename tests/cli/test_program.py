"""The program as a whole: its version, and options that stand before a command."""

from __future__ import annotations

import json
import subprocess
import sys
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


def test_what_every_command_loads_has_no_engine() -> None:
    code = "import sys, genrec_edge.cli.program; print(*(name for name in sys.modules if 'genrec_edge.engine' in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
