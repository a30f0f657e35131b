"""Runs `genrec-edge` again and again in forks of one process that has imported everything, with faults on demand.

A program, not a test: `test_convert_atomic.py` starts it with `faults.c` preloaded, writes one JSON request per line to
its stdin and reads one JSON outcome per line. A run takes no longer than its work.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from typing import Any

import genrec_edge.catalog.edit
import genrec_edge.cli
import genrec_edge.convert.pipeline.run
import genrec_edge.datasets.importer
import genrec_edge.engine.prompt_cache
import genrec_edge.prior.update
import genrec_edge.profiles.store
import genrec_edge.recommender
import genrec_edge.serving.unconditional

HANG_S = 120.0
_POLL_S = 0.0005

_faults = ctypes.CDLL(os.environ["LD_PRELOAD"])
_faults.faults_count.restype = ctypes.c_long
_faults.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the command line once and return its status, its seconds and the number of calls that could have failed.

    The status is the exit code, or minus the signal that ended it; a run longer than `HANG_S` is killed and gets -9.
    """
    folder = os.fsencode(request["folder"])
    _faults.faults_arm(folder, request["fail_at"], request["error"], int(request["stays"]))
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os._exit(_child(request))
    kill_at = started + (HANG_S if request["kill_after_s"] is None else request["kill_after_s"])
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            break
        if time.perf_counter() >= kill_at:
            os.kill(pid, signal.SIGKILL)
            kill_at = float("inf")
        time.sleep(_POLL_S)
    seconds = time.perf_counter() - started
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "n_calls": _faults.faults_count(),
    }


def _child(request: dict[str, Any]) -> int:
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(request["env"])
    sys.argv = ["genrec-edge", *request["arguments"]]
    try:
        genrec_edge.cli.main()
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()
