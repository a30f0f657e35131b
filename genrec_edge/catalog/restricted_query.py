"""One query on a connection that can do nothing but read items; also a program that runs it in a process of its own.

A single call of `instr` or LIKE cannot be interrupted, so a query that may hold one of hours runs in a process that can
be ended. That process imports this file alone, and only what every Python has: it starts in 20 ms.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_HEAP_BYTES = 64 << 20
"""What SQLite may take in a process of its own."""
_STEPS_PER_CHECK = 1_000
"""Steps of SQLite's virtual machine between two looks at the clock."""
_TABLES = frozenset({"items", "item_values"})


def restrict(
    connection: sqlite3.Connection, functions: Iterable[str], max_value_bytes: int, is_over: Callable[[], bool]
) -> list[str]:
    """Allow a connection to read items and to call `functions`, and nothing else, until `is_over` returns true.

    Returns a list, to which is added what is refused from now on: an exception in a callback refuses, too.
    """
    allowed = frozenset(functions)
    refused: list[str] = []

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        is_allowed = (
            action == sqlite3.SQLITE_SELECT
            or (action == sqlite3.SQLITE_READ and first in _TABLES)
            or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() in allowed)
        )
        if not is_allowed:
            refused.append(f"{action} {first} {second}")
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max_value_bytes)
    connection.set_authorizer(authorize)
    connection.set_progress_handler(is_over, _STEPS_PER_CHECK)
    return refused


def _main() -> None:
    """Read a job from standard input; write the rows, or the code and the text of SQLite's error."""
    job: Mapping[str, Any] = json.loads(sys.stdin.buffer.read())
    if hasattr(signal, "setitimer"):  # ends this process whatever it does, and also if the parent is gone
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, float(job["limit_s"]))
    rows = array("q")
    error: dict[str, object] | None = None
    try:
        connection = sqlite3.connect(job["uri"], uri=True, timeout=float(job["limit_s"]))
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA hard_heap_limit = {MAX_HEAP_BYTES}")
        restrict(connection, job["functions"], job["max_value_bytes"], lambda: False)
        rows.extend(row for (row,) in connection.execute(job["query"]))
    except MemoryError:
        error = {"code": sqlite3.SQLITE_NOMEM, "text": "out of memory"}
    except sqlite3.Error as e:
        error = {"code": getattr(e, "sqlite_errorcode", sqlite3.SQLITE_ERROR), "text": str(e)}
    sys.stdout.buffer.write(json.dumps(error).encode() + b"\n" + rows.tobytes())


if __name__ == "__main__":
    _main()
