"""Filters: SQL conditions over a catalog's columns, which can do nothing but choose items.

The text is not trusted. It is cut into tokens (`where_tokens.py`) and compiled (`where_compiler.py`) first: comments,
semicolons, SELECT, unknown names and unknown functions are refused there, with a message that helps. The result stands
in brackets in one query on a read-only connection, whose authorizer allows two tables and the pure functions, and whose
progress handler ends the query after 2 s.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from genrec_edge.catalog.where_compiler import compile_condition
from genrec_edge.catalog.where_tokens import FUNCTIONS, filter_error, shortened
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

TIME_LIMIT_S = 2.0

_MAX_VALUE_BYTES = 1_000_000
_STEPS_PER_CHECK = 10_000
"""Steps of SQLite's virtual machine between two looks at the clock."""
_TABLES = frozenset({"items", "item_values"})
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
        UsageError: not a condition, an unknown column or function, or more work than `TIME_LIMIT_S`.
    """
    import numpy as np  # noqa: PLC0415 - a third of the import time of the catalog

    query = f'SELECT "row" FROM items WHERE ({compile_condition(where, columns, list_columns)})'
    _restrict(connection)
    try:
        rows = np.fromiter((row for (row,) in connection.execute(query)), dtype=np.int64)
    except sqlite3.Error as e:
        code = e.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            message = f"the filter {shortened(where)} takes more than {TIME_LIMIT_S:.0f} s"
            raise UsageError(message, hint="use a simpler condition") from e
        if code in _CODES_OF_WRONG_CONDITIONS:
            raise filter_error(where, str(e)) from e
        raise
    rows.sort()
    return rows


def _restrict(connection: sqlite3.Connection) -> None:
    """Allow a connection to read items, and nothing else, for `TIME_LIMIT_S` from now on."""
    deadline = time.monotonic() + TIME_LIMIT_S
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_PER_CHECK)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    is_allowed = (
        action == sqlite3.SQLITE_SELECT
        or (action == sqlite3.SQLITE_READ and first in _TABLES)
        or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() in FUNCTIONS)
    )
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY
