"""Checks, loads and uses hostile GGUF files, each in a fork of its own: an abort is counted and ends nothing else.

A program, not a test: `tests/serving/test_hostile_models.py` starts it. It may reserve `MOST_MIB` of memory. For each
number it prints the kind of the file, how it ended ("runs", "refused", "memory", or what went wrong), its seconds and
its peak memory in MiB.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import llama_cpp  # noqa: F401 - mapped once, before the forks

from genrec_edge.errors import EngineError, GenRecError, ModelInvalidError, OutOfMemoryError
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.options import OpenOptions
from genrec_edge.serving.config import SessionConfig
from genrec_edge.serving.opening import open_engine
from tests.support import hostile_ggufs

_ENDS = {0: "runs", 3: "refused", 4: "memory", 5: "no numbers", 6: "refused by llama.cpp"}
_HANG_S = 60
MOST_MIB = 400


def used(path: Path) -> int:
    """Open a model as a recommender does, evaluate a prompt and tell how it ended, as a key of `_ENDS`."""
    try:
        model_file = resolve_model(path, ModelStore(path.parent))
    except ModelInvalidError:
        return 3
    try:
        options = OpenOptions(n_threads=1)
        engine = open_engine(model_file, SessionConfig.of(model_file, options), options)
    except OutOfMemoryError:
        return 4
    except ModelInvalidError as e:
        return 6 if "llama.cpp cannot load" in e.message else 3
    try:
        ids = engine.model.tokenize("Alien, the 3rd\n\x7f")
        engine.model.detokenize(ids)
        engine.prompt((ids * 40)[:250])
    except EngineError:
        return 5
    engine.close()
    return 0


def ended(path: Path) -> tuple[str, float, float]:
    """Use a file in a fork; return how it ended, the seconds and the peak memory in MiB."""
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        signal.alarm(_HANG_S)
        code = 99
        try:
            code = used(path)
        except GenRecError as e:
            sys.stderr.write(f"{type(e).__name__}: {e.message}\n")
        except BaseException as e:
            sys.stderr.write(f"{type(e).__name__}: {e}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return _ENDS.get(code, f"status {code}"), time.monotonic() - started, usage.ru_maxrss / 1024


def main(kind: str, folder: Path, start: int, end: int) -> None:
    """Try the files of the numbers from `start` to before `end`."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MIB << 20, MOST_MIB << 20))
    path = folder / f"{kind}.gguf"
    for number in range(start, end):
        path.write_bytes(getattr(hostile_ggufs, kind)(number))
        how, seconds, mib = ended(path)
        sys.stdout.write(json.dumps([kind, number, how, round(seconds, 2), round(mib)]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
