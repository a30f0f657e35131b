"""The start of the program where there is no memory for it, or Ctrl-C comes."""

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


RAISES_WHILE_LOADING = """
import os, signal, sys, types
from genrec_edge import cli

def interrupted_and_said_otherwise(*_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass
    except KeyboardInterrupt:
        raise {error} from None

class Loads(types.ModuleType):
    __getattr__ = interrupted_and_said_otherwise

program = Loads("genrec_edge.cli.program")
sys.modules[program.__name__] = cli.program = program
cli.main()
"""


@linux
@pytest.mark.parametrize("error", ['SystemError("x returned NULL without exception set")', 'ImportError("no name y")'])
def test_ctrl_c_that_a_library_makes_another_error_of_is_ctrl_c(error: str) -> None:
    program = RAISES_WHILE_LOADING.format(error=error)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
