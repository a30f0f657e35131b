"""The start of the program where there is no memory for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="the limits of Linux")


@linux
@pytest.mark.parametrize("limit", ["ulimit -d 12000", "ulimit -v 26000", "ulimit -s 1000000; ulimit -v 800000"])
def test_where_the_program_cannot_be_loaded_it_ends_with_the_code_of_memory(limit: str) -> None:
    command = [sys.executable, "-c", "from genrec_edge.cli import main; main()", "models", "list"]
    shell = ["sh", "-c", f'{limit}; exec "$@"', "sh", *command]
    done = subprocess.run([*shell, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "out-of-memory"
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr == "error: there is not enough memory to start; raise the limit, or close other programs\n"
