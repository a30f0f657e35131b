"""Filters: SQL conditions over a catalog's columns, which can do nothing but choose items.

The text is not trusted. It is cut into tokens (`where_tokens.py`) and compiled (`where_compiler.py`) first: comments,
semicolons, SELECT, unknown names and unknown functions are refused there, with a message that helps. The result stands
in brackets in one query on a read-only connection, whose authorizer allows two tables and the pure functions. It is
ended after 2 s, or when the caller no longer waits (`ended_by`): between two rows if it is cheap by its form
(`where_cost.py`), else at any moment, as it runs in a process of its own (`restricted_query.py`).
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.catalog import restricted_query, schema
from genrec_edge.catalog.where_compiler import columns_by_name, compile_condition
from genrec_edge.catalog.where_cost import is_cheap
from genrec_edge.catalog.where_tokens import FUNCTIONS, filter_error, shortened, tokenize
from genrec_edge.catalog.where_types import check_comparisons
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

TIME_LIMIT_S = 2.0
"""Of processor time, so that what is allowed does not depend on what else a machine does."""
_WALL_LIMIT_S = 10.0
"""For a process of its own, which may get less than a whole processor, or wait for another program's lock."""

_MAX_VALUE_BYTES_HERE = 100_000
"""In this process; a filter of longer texts gets one of its own."""
_MAX_VALUE_BYTES = 1_000_000
_POLL_S = 0.05
_CODES_OF_WRONG_CONDITIONS = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
    }
)
"""Error codes that the text of a condition causes; any other says that the file is damaged or in use."""


def _nothing() -> None:
    """End no filter."""


_poll: ContextVar[Callable[[], object]] = ContextVar("poll", default=_nothing)


@contextmanager
def ended_by(poll: Callable[[], object]) -> Iterator[None]:
    """Let `poll`, called many times a second, end the filters of the block: by raising what they then raise."""
    token = _poll.set(poll)
    try:
        yield
    finally:
        _poll.reset(token)


def poll() -> None:
    """Raise what ends the filters of the block of `ended_by`, if they are to end; for the other work of the block."""
    _poll.get()()


def matching_rows(
    connection: sqlite3.Connection, where: str, columns: Sequence[str], list_columns: Sequence[str]
) -> NDArray[np.int64]:
    """Return the rows of `items` that satisfy a condition, ascending; shape (n,), n may be 0. Read-only.

    Args:
        connection: to a catalog, for this call alone: it is restricted, and stays so.
        where: the condition.
        columns: all names that a condition may use.
        list_columns: those of them that hold many values.

    Raises:
        UsageError: not a condition, an unknown column or function, a text compared with a number, or more than
            `TIME_LIMIT_S` of work.
    """
    query = f'SELECT "row" FROM items WHERE ({compile_condition(where, columns, list_columns)})'
    kinds = schema.column_kinds(connection)
    check_comparisons(where, tokenize(where), columns_by_name(columns, list_columns), kinds, list_columns)
    (path,) = (row[2] for row in connection.execute("PRAGMA database_list") if row[1] == "main")
    try:
        rows = _rows_here(connection, query) if is_cheap(tokenize(where)) else None
        if rows is None:
            rows = _rows_of_process(Path(path), query)
    except sqlite3.Error as e:
        code = e.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            message = f"the filter {shortened(where)} takes more than {TIME_LIMIT_S:.0f} s"
            raise UsageError(message, hint="use a simpler condition") from e
        if code == sqlite3.SQLITE_NOMEM:
            most = restricted_query.MAX_HEAP_BYTES >> 20
            message = f"the filter {shortened(where)} takes more than {most} MiB of memory"
            raise UsageError(message, hint="use a simpler condition") from e
        if code in _CODES_OF_WRONG_CONDITIONS:
            raise filter_error(where, str(e)) from e
        raise
    rows.sort()
    return rows


def _rows_here(connection: sqlite3.Connection, query: str) -> NDArray[np.int64] | None:
    """Return the rows of a cheap query; None if it comes upon a text that is too long for this process."""
    import numpy as np  # noqa: PLC0415 - a third of the import time of the catalog

    poll, raised, is_late = _poll.get(), list[BaseException](), list[bool]()
    deadline = time.thread_time() + TIME_LIMIT_S

    def is_over() -> bool:
        try:
            poll()
        except BaseException as e:
            raised.append(e)
        if time.thread_time() > deadline:
            is_late.append(True)
        return bool(raised or is_late)

    refused = restricted_query.restrict(connection, FUNCTIONS, _MAX_VALUE_BYTES_HERE, is_over)
    try:
        return np.fromiter((row for (row,) in connection.execute(query)), dtype=np.int64)
    except sqlite3.Error as e:
        if raised:
            raise raised[0] from None
        code = e.sqlite_errorcode & 0xFF
        if (code == sqlite3.SQLITE_INTERRUPT and not is_late) or (code == sqlite3.SQLITE_AUTH and not refused):
            raise KeyboardInterrupt from None  # a signal came in a callback, outside of the `try` above
        if code == sqlite3.SQLITE_TOOBIG:
            return None
        raise


def _rows_of_process(path: Path, query: str) -> NDArray[np.int64]:
    """Return the rows of a query on a file that runs in a process of its own."""
    import numpy as np  # noqa: PLC0415 - a third of the import time of the catalog

    job = {
        "uri": f"{path.as_uri()}?mode=ro",
        "query": query,
        "functions": sorted(FUNCTIONS),
        "max_value_bytes": _MAX_VALUE_BYTES,
        "limit_s": TIME_LIMIT_S,
    }
    answer = _run_process(json.dumps(job).encode(), time.monotonic() + _WALL_LIMIT_S)
    error, _, rows = answer.partition(b"\n")
    if not error:
        raise _sqlite_error(sqlite3.SQLITE_INTERRUPT, "interrupted")  # it ended itself
    found = json.loads(error)
    if found is not None:
        raise _sqlite_error(int(found["code"]), str(found["text"]))
    return np.frombuffer(rows, np.int64).copy()


def _run_process(job: bytes, deadline: float) -> bytes:
    """Return what the process writes; it is ended at the deadline, and whatever is raised meanwhile."""
    command = [sys.executable, "-I", "-S", restricted_query.__file__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        process = subprocess.Popen(command, **pipes, start_new_session=True)  # type: ignore[call-overload]
    except (OSError, ValueError) as e:
        message = f"a filter like this needs a process of its own, which cannot be started ({e})"
        raise UsageError(message, hint="use a condition without functions and with short patterns") from e
    poll = _poll.get()
    unsent: bytes | None = job
    with process:
        try:
            while True:
                poll()
                try:
                    return bytes(process.communicate(unsent, timeout=_POLL_S)[0])
                except subprocess.TimeoutExpired as e:
                    unsent = None
                    if time.monotonic() > deadline:
                        raise _sqlite_error(sqlite3.SQLITE_INTERRUPT, "interrupted") from e
        finally:
            process.kill()


def _sqlite_error(code: int, text: str) -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error
