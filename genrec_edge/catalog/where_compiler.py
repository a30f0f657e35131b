"""A filter as SQL over the table `items`: names become columns, comparisons of list columns look at single values.

Knows names and tokens; `where.py` runs the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.catalog.where_tokens import FUNCTIONS, KEYWORDS, Token, filter_error, shortened, tokenize
from genrec_edge.storage.sqlite import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.errors import UsageError

_LITERALS = frozenset({"string", "number"})
_BEFORE_CONDITION = frozenset({"", "(", "and", "or", "not", "when", "then", "else"})
_AFTER_CONDITION = frozenset({"", ")", "and", "or", "then", "when", "else", "end"})
_BEFORE_VALUE = frozenset({"=", "==", "!=", "<>", "<", "<=", ">", ">=", "like", "glob", ","})
_EQUAL = frozenset({"=", "=="})
_UNEQUAL = frozenset({"!=", "<>"})
_NO_TOKEN = Token("operator", "")
_MIN_SIMILARITY = 60
"""Of a column that an error proposes, 0..100."""


def compile_condition(where: str, columns: Sequence[str], list_columns: Sequence[str]) -> str:
    """Return the condition as SQL over `items` in which comparisons of list columns look at single values.

    Args:
        where: the condition.
        columns: all names that a condition may use.
        list_columns: those of them that hold many values.

    Raises:
        UsageError: it is not a condition, or names an unknown column or function.

    >>> compile_condition("YEAR >= 1990", ["year"], [])
    'items."year" >= 1990'
    """
    return _Compiler(where, columns, list_columns).compile()


class _Compiler:
    """The tokens of one filter, and the names that it may use. Beyond the ends stands a token that is empty."""

    def __init__(self, where: str, columns: Sequence[str], list_columns: Sequence[str]) -> None:
        self._where = where
        self._columns = columns_by_name(columns, list_columns)
        self._list_columns = frozenset(list_columns)
        self._tokens = tokenize(where)

    def compile(self) -> str:
        parts: list[str] = []
        i = 0
        while i < len(self._tokens):
            comparison = self._list_comparison(i)
            if comparison is None:
                parts.append(self._single(i))
                i += 1
            else:
                end, sql = comparison
                parts.append(sql)
                i = end
        return " ".join(parts)

    def _token(self, i: int) -> Token:
        return self._tokens[i] if 0 <= i < len(self._tokens) else _NO_TOKEN

    def _keyword(self, i: int) -> str:
        return self._token(i).keyword

    def _column(self, token: Token) -> str | None:
        if token.kind not in {"word", "quoted"}:
            return None
        return self._columns.get(token.name.casefold())

    def _single(self, i: int) -> str:
        """Return one token as SQL; names become columns of `items`."""
        token, previous = self._token(i), self._token(i - 1)
        if token.kind not in {"word", "quoted"}:
            return token.text
        if token.kind == "word":
            if self._token(i + 1).text == "(" and token.keyword not in KEYWORDS:
                self._check_function(token)
                return token.text
            if token.keyword in KEYWORDS or previous.keyword in {"as", "collate"}:
                return token.text
        column = self._column(token)
        if column is not None:
            return f"items.{quoted(column)}"
        is_first_in_list = previous.text == "(" and self._keyword(i - 2) == "in"
        if token.text[0] == '"' and (previous.keyword in _BEFORE_VALUE or is_first_in_list):
            return _literal(token.name)  # SQLite takes double quotes for text where no column has that name
        raise _unknown_column(token.name, self._columns, self._where)

    def _check_function(self, token: Token) -> None:
        if token.keyword not in FUNCTIONS and token.keyword != "cast":
            hint = f"these functions exist: {', '.join(sorted(FUNCTIONS))}"
            raise filter_error(self._where, f"there is no function {shortened(token.text)}", hint)

    def _list_comparison(self, i: int) -> tuple[int, str] | None:
        """Return the comparison of a list column with values that starts at token `i`: where it ends, and its SQL.

        An item has many values, so `=` asks whether one of them is equal, and `!=` whether none is. None where there is
        no such comparison.
        """
        column = self._column(self._token(i))
        if column not in self._list_columns or self._keyword(i - 1) not in _BEFORE_CONDITION:
            return None
        start = i + 1
        is_negated = self._keyword(start) == "not"
        if is_negated:
            start += 1
        operator = self._keyword(start)
        if operator == "in":
            comparison = self._in_values(start)
        elif operator == "like" or (operator in _EQUAL | _UNEQUAL and not is_negated):
            comparison = self._one_value(start)
        else:
            return None
        if comparison is None or self._keyword(comparison[0]) not in _AFTER_CONDITION:
            return None
        end, sql = comparison
        membership = "NOT IN" if is_negated or operator in _UNEQUAL else "IN"
        field = _literal(str(column))
        return end, f'items."row" {membership} (SELECT item FROM item_values WHERE field = {field} AND value {sql})'

    def _in_values(self, i: int) -> tuple[int, str] | None:
        """Return the end and the SQL of `IN (value, ...)` at token `i`; None if it is something else."""
        if self._token(i + 1).text != "(":
            return None
        values: list[str] = []
        i += 2
        while (value := self._value(i)) is not None:
            values.append(value)
            after = self._keyword(i + 1)
            i += 2
            if after == ")":
                return i, f"IN ({', '.join(values)})"
            if after != ",":
                return None
        return None

    def _one_value(self, i: int) -> tuple[int, str] | None:
        """Return the end and the SQL of `= value` or `LIKE value` at token `i`; None if it is something else."""
        value = self._value(i + 1)
        if value is None:
            return None
        end = i + 2
        if self._keyword(i) != "like":
            return end, f"= {value}"
        if self._keyword(end) != "escape":
            return end, f"LIKE {value}"
        escape = self._value(end + 1)
        return None if escape is None else (end + 2, f"LIKE {value} ESCAPE {escape}")

    def _value(self, i: int) -> str | None:
        """Return the literal at token `i` as SQL, None for anything else."""
        token = self._token(i)
        if token.kind in _LITERALS:
            return token.text
        if token.kind == "quoted" and token.text[0] == '"' and self._column(token) is None:
            return _literal(token.name)
        return None


def columns_by_name(columns: Sequence[str], list_columns: Sequence[str]) -> dict[str, str]:
    """Map what users may write, in lower case, to columns: their names, and "genre" for a list "genres".

    >>> columns_by_name(["Year", "stories"], ["stories"])
    {'year': 'Year', 'stories': 'stories', 'story': 'stories'}
    """
    names = {name.casefold(): name for name in columns}
    for column in list_columns:
        name = column.casefold()
        if name.endswith("ies"):
            other = f"{name[:-3]}y"
        elif name.endswith("s"):
            other = name[:-1]
        elif name.endswith("y"):
            other = f"{name[:-1]}ies"
        else:
            other = f"{name}s"
        names.setdefault(other, column)
    return names


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _unknown_column(name: str, columns: dict[str, str], where: str) -> UsageError:
    from rapidfuzz import process  # noqa: PLC0415 - only the error needs it

    similar = process.extract(name.casefold(), columns.keys(), limit=2, score_cutoff=_MIN_SIMILARITY)
    proposals = " or ".join(dict.fromkeys(repr(columns[key]) for key, *_ in similar))
    existing = ", ".join(dict.fromkeys(columns.values()))
    return filter_error(
        where,
        f"no column {shortened(name)}; the columns are: {existing}",
        f"did you mean {proposals}?" if proposals else "",
    )
