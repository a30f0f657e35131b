"""`--where`: an SQL condition over a catalog's columns, which can do nothing but choose items.

The text comes from strangers. It is cut into tokens first: comments, semicolons, SELECT, unknown names and
unknown functions end there, with a message that helps. What is left stands in brackets in one query on a
read-only connection, whose authorizer allows the two tables and the pure functions below, and whose progress
handler ends it after 2 s.
"""

from __future__ import annotations

import re
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError
from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

TIME_LIMIT_S = 2.0
FUNCTIONS = frozenset(
    {
        "abs",
        "ceil",
        "coalesce",
        "date",
        "datetime",
        "floor",
        "glob",
        "ifnull",
        "iif",
        "instr",
        "length",
        "like",
    }
    | {"lower", "ltrim", "max", "min", "nullif", "replace", "round", "rtrim", "sign", "strftime", "substr"}
    | {"substring", "trim", "typeof", "unicode", "upper"}
)

_MAX_CHARACTERS = 20_000
_MAX_VALUE_BYTES = 1_000_000
_PROGRESS_STEPS = 10_000
_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<bad>--|/\*|;)
    | (?P<string>'(?:[^'\0]|'')*')
    | (?P<quoted>"(?:[^"\0]|"")*"|`[^`\0]*`|\[[^\]\0]*\])
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w$]))
    | (?P<word>[^\W\d][\w$]*)
    | (?P<operator><>|<=|>=|==|!=|\|\||<<|>>|[-+*/%&|~<>=(),])
    """,
    re.VERBOSE,
)
KEYWORDS = frozenset(
    {
        "and",
        "or",
        "not",
        "in",
        "like",
        "glob",
        "between",
        "is",
        "null",
        "isnull",
        "notnull",
        "escape",
        "collate",
    }
    | {"case", "when", "then", "else", "end", "true", "false", "distinct", "from", "as"}
)
_LITERALS = frozenset({"string", "number"})
_BEFORE_CONDITION = frozenset({"", "(", "and", "or", "not", "when", "then", "else"})
_AFTER_CONDITION = frozenset({"", ")", "and", "or", "then", "when", "else", "end"})
_TAKES_VALUE = frozenset({"=", "==", "!=", "<>", "<", "<=", ">", ">=", "like", "glob", ","})
_TABLES = frozenset({"items", "item_values"})
_USERS_FAULT = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
    }
)


def matching_rows(
    connection: sqlite3.Connection, where: str, columns: Sequence[str], list_columns: Sequence[str]
) -> NDArray[np.int64]:
    """Return the rows of `items` that satisfy a condition, ascending; shape (n,), n may be 0. Read-only.

    Args:
        connection: to a catalog, for this call alone: it is restricted, and stays so.
        where: the condition.
        columns: all names a condition may use.
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
            message = f"the filter {_shown(where)} takes more than {TIME_LIMIT_S:.0f} s"
            raise UsageError(message, hint="make it simpler") from e
        if code in _USERS_FAULT:
            raise _error(where, str(e)) from e
        raise
    rows.sort()
    return rows


def compile_condition(where: str, columns: Sequence[str], list_columns: Sequence[str]) -> str:
    """Return the condition as SQL over `items` in which comparisons of list columns look at single values.

    >>> compile_condition("YEAR >= 1990", ["year"], [])
    'items."year" >= 1990'
    """
    names = _names(columns, list_columns)
    tokens = _tokens(where)
    lists = frozenset(list_columns)
    parts: list[str] = []
    i = 0
    while i < len(tokens):
        n_used, sql = _list_comparison(tokens, i, names, lists)
        if not n_used:
            n_used, sql = 1, _plain(tokens, i, names, where)
        parts.append(sql)
        i += n_used
    return " ".join(parts)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str

    @property
    def low(self) -> str:
        """The text of words and operators in lower case; empty for anything that only looks like one."""
        return self.text.lower() if self.kind in {"word", "operator"} else self.kind

    @property
    def name(self) -> str:
        """The column a word or quoted identifier names."""
        if self.kind != "quoted":
            return self.text
        return self.text[1:-1].replace('""', '"') if self.text[0] == '"' else self.text[1:-1]


_NONE = _Token("operator", "")


def _tokens(where: str) -> list[_Token]:
    if not where.strip():
        raise UsageError("the filter is empty", hint="write a condition such as year >= 1990")
    if len(where) > _MAX_CHARACTERS:
        message = f"the filter has {len(where):,} characters; at most {_MAX_CHARACTERS:,} are read"
        raise UsageError(message)
    if where != where.encode(errors="replace").decode():
        raise _error(where, "it holds broken Unicode (a lone surrogate)")
    tokens: list[_Token] = []
    position = depth = 0
    while position < len(where):
        match = _TOKEN.match(where, position)
        kind = str(match.lastgroup) if match else "bad"
        text = match[0] if match else where[position]
        if kind == "bad":
            raise _error(where, f"{text!r} has no place in a condition")
        depth += {"(": 1, ")": -1}.get(text, 0) if kind == "operator" else 0
        if depth < 0:
            raise _error(where, "a bracket is closed that was not opened")
        if kind != "space":
            tokens.append(_Token(kind, text))
        position += len(text)
    if depth:
        raise _error(where, "a bracket is not closed")
    return tokens


def _at(tokens: Sequence[_Token], i: int) -> _Token:
    return tokens[i] if 0 <= i < len(tokens) else _NONE


def _plain(tokens: Sequence[_Token], i: int, names: dict[str, str], where: str) -> str:
    """Return one token as SQL; names become columns of `items`."""
    token, before, after = tokens[i], _at(tokens, i - 1), _at(tokens, i + 1)
    if token.kind not in {"word", "quoted"}:
        return token.text
    if token.kind == "word":
        if after.text == "(" and token.low not in KEYWORDS:
            if token.low not in FUNCTIONS and token.low != "cast":
                hint = f"these exist: {', '.join(sorted(FUNCTIONS))}"
                raise _error(where, f"no function {_shown(token.text)}", hint)
            return token.text
        if token.low in KEYWORDS or before.low in {"as", "collate"}:
            return token.text
    column = names.get(token.name.casefold())
    if column is not None:
        return f"items.{quoted(column)}"
    is_first_in_list = before.text == "(" and _at(tokens, i - 2).low == "in"
    if token.text[0] == '"' and (before.low in _TAKES_VALUE or is_first_in_list):
        return _literal(token.name)  # text, as SQLite and many shells' users have it
    raise _unknown_column(token.name, names, where)


def _list_comparison(tokens: Sequence[_Token], i: int, names: dict[str, str], lists: frozenset[str]) -> tuple[int, str]:
    """Return length and SQL of the comparison at token `i` if it compares a list column with values, else 0.

    An item has many values, so `=` asks whether one of them is equal, and `!=` whether none is.
    """
    column = names.get(tokens[i].name.casefold()) if tokens[i].kind in {"word", "quoted"} else None
    if column not in lists or _at(tokens, i - 1).low not in _BEFORE_CONDITION:
        return 0, ""
    end = i + 1
    negated = _at(tokens, end).low == "not"
    end += negated
    operator = _at(tokens, end).low
    values: list[str] = []
    if operator == "in" and _at(tokens, end + 1).text == "(":
        end += 2
        while (value := _value(_at(tokens, end), names)) is not None:
            values.append(value)
            end += 2
            if _at(tokens, end - 1).low != ",":
                break
        comparison = f"IN ({', '.join(values)})"
        is_whole = bool(values) and _at(tokens, end - 1).low == ")"
    else:
        value = _value(_at(tokens, end + 1), names)
        is_whole = value is not None and (operator == "like" or (operator in {"=", "==", "!=", "<>"} and not negated))
        comparison = f"{'LIKE' if operator == 'like' else '='} {value}"
        end += 2
        if operator == "like" and _at(tokens, end).low == "escape":
            comparison += f" ESCAPE {_value(_at(tokens, end + 1), names)}"
            end += 2
    if not is_whole or _at(tokens, end).low not in _AFTER_CONDITION:
        return 0, ""
    negated = negated or operator in {"!=", "<>"}
    field = _literal(str(column))
    inner = f"SELECT item FROM item_values WHERE field = {field} AND value {comparison}"
    return end - i, f'items."row" {"NOT " if negated else ""}IN ({inner})'


def _value(token: _Token, names: dict[str, str]) -> str | None:
    """Return a literal as SQL, None for anything else."""
    if token.kind in _LITERALS:
        return token.text
    if token.kind == "quoted" and token.text[0] == '"' and token.name.casefold() not in names:
        return _literal(token.name)
    return None


def _names(columns: Sequence[str], list_columns: Sequence[str]) -> dict[str, str]:
    """Map what users may write, in lower case, to columns: their names, and "genre" for a list "genres"."""
    names = {name.casefold(): name for name in columns}
    for column in list_columns:
        name = column.casefold()
        if name.endswith("ies"):
            names.setdefault(name[:-3] + "y", column)
        elif name.endswith("s"):
            names.setdefault(name[:-1], column)
        else:
            names.setdefault(name[:-1] + "ies" if name.endswith("y") else name + "s", column)
    return names


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _restrict(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + TIME_LIMIT_S
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    allowed = (
        action == sqlite3.SQLITE_SELECT
        or (action == sqlite3.SQLITE_READ and first in _TABLES)
        or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() in FUNCTIONS)
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _unknown_column(name: str, names: dict[str, str], where: str) -> UsageError:
    from rapidfuzz import process  # noqa: PLC0415 - only the error needs it

    near = process.extract(name.casefold(), names.keys(), limit=2, score_cutoff=60)
    existing = f"the columns are: {', '.join(dict.fromkeys(names.values()))}"
    guess = " or ".join(dict.fromkeys(repr(names[key]) for key, *_ in near))
    return _error(where, f"no column {_shown(name)}; {existing}", f"did you mean {guess}?" if guess else "")


def _error(where: str, what: str, hint: str = "") -> UsageError:
    return UsageError(f"the filter {_shown(where)} cannot be used: {what}", hint=hint)


def _shown(where: str) -> str:
    text = " ".join(where.split())
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
