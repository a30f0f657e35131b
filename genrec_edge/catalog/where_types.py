"""Refuses comparisons of texts with numbers, whose results would be wrong without a word: to SQLite '9' > '100'.

Knows tokens and the types of columns; whatever is not plainly a text or a number is let through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from genrec_edge.catalog.where_tokens import Token, filter_error, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ORDERINGS = frozenset({"<", "<=", ">", ">="})
_COMPARISONS = _ORDERINGS | {"=", "==", "!=", "<>"}
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "&", "|", "<<", ">>", "~"})
_TEXT_FUNCTIONS = frozenset(
    {
        "date",
        "datetime",
        "lower",
        "ltrim",
        "replace",
        "rtrim",
        "strftime",
        "substr",
        "substring",
        "trim",
        "typeof",
        "upper",
    }
)
_CHOOSING_FUNCTIONS: Mapping[str, int | None] = {
    "coalesce": None,
    "ifnull": None,
    "max": None,
    "min": None,
    "nullif": 1,
}
"""Functions whose result is one of their first arguments, and how many those are; None for all."""
_NUMBER_FUNCTIONS = frozenset({"ceil", "floor", "instr", "length", "round", "sign", "unicode"})
_MAX_CALLS = 20
"""Calls within each other whose arguments are looked at."""
_WORDS_BEFORE_BRACKETS = frozenset({"and", "between", "case", "else", "in", "is", "not", "or", "then", "when"})
_TYPES = {"INTEGER": "number", "REAL": "number", "TEXT": "text"}
_NO_TOKEN = Token("operator", "")


@dataclass(frozen=True, slots=True)
class _Operand:
    """One side of a comparison."""

    type: Literal["number", "text", ""]
    shown: str = ""
    column: str | None = None
    literal: str | None = None
    """The text of a string."""


def check_comparisons(
    where: str,
    tokens: Sequence[Token],
    columns: Mapping[str, str],
    kinds: Mapping[str, str],
    list_columns: Sequence[str],
) -> None:
    """Raise if a condition compares a text with a number.

    Args:
        where: the condition, for the message.
        tokens: those of it.
        columns: the columns by what they may be called, in lower case.
        kinds: the SQL type of each column, "" where it has none.
        list_columns: those that hold many values; `genre = 7` asks for the value '7'.

    Raises:
        UsageError: the message names both sides.
    """
    _Checker(where, tokens, columns, kinds, list_columns).check()


class _Checker:
    """The tokens of one filter. Beyond the ends stands a token that is empty."""

    def __init__(
        self,
        where: str,
        tokens: Sequence[Token],
        columns: Mapping[str, str],
        kinds: Mapping[str, str],
        list_columns: Sequence[str],
    ) -> None:
        self._where = where
        self._tokens = tokens
        self._columns = columns
        self._kinds = kinds
        self._list_columns = frozenset(list_columns)
        self._partners, self._openings = _partners_of(tokens)
        self._n_calls = 0

    def check(self) -> None:
        for i, token in enumerate(self._tokens):
            operator = token.keyword
            if operator in _COMPARISONS:
                for left, right in self._sides(i):
                    self._compare(left, right, is_ordering=operator in _ORDERINGS)
            elif operator in {"between", "in"}:
                start = i - 1 if self._token(i - 1).keyword == "not" else i
                left = self._before(start)
                for at in self._limits(i) if operator == "between" else self._members(i):
                    self._compare(left, self._after(at), is_ordering=operator == "between")

    def _token(self, i: int) -> Token:
        return self._tokens[i] if 0 <= i < len(self._tokens) else _NO_TOKEN

    def _sides(self, i: int) -> list[tuple[_Operand, _Operand]]:
        """Return what the comparison at token `i` compares: two operands, or the values of two rows, one by one."""
        start = self._openings.get(i - 1)
        if start is not None and not self._is_called(start - 1):
            left, right = self._members(start - 1), self._members(i)
            if len(left) == len(right) > 1:
                return [(self._after(a), self._after(b)) for a, b in zip(left, right, strict=True)]
        return [(self._before(i), self._after(i))]

    def _compare(self, left: _Operand, right: _Operand, *, is_ordering: bool) -> None:
        if {left.type, right.type} != {"number", "text"}:
            return
        text, number = (left, right) if left.type == "text" else (right, left)
        if text.literal is not None and number.column is not None and _is_number(text.literal):
            return  # SQLite reads it as a number
        if text.column is None and text.literal is None and number.column is not None:
            return  # the result of a function, which SQLite reads as a number, too
        if not is_ordering and (text.column == "id" or text.column in self._list_columns):
            return
        if text.column is not None:
            finding = f"{text.shown} holds text, and {number.shown} is a number"
            hint = "compare it with a text in quotes, or build the catalog again so that the column holds numbers"
        else:
            finding = f"{text.shown} is a text, and {number.shown} a number"
            hint = "write numbers without quotes"
        raise filter_error(self._where, finding, hint)

    def _before(self, i: int) -> _Operand:
        """Return the operand that ends before token `i`."""
        end = i - 3 if self._token(i - 2).keyword == "collate" else i - 1
        start = end
        if self._token(end).text == ")":
            start = self._openings[end]
            start -= self._is_called(start - 1)
        previous = self._token(start - 1)
        if previous.text in _ARITHMETIC and self._ends_operand(start - 2):
            return _Operand("number", "a sum")
        return _Operand("text", "a text") if previous.text == "||" else self._operand(start)

    def _after(self, i: int) -> _Operand:
        """Return the operand that begins after token `i`."""
        start = i + 1
        while self._token(start).text in {"-", "+"}:
            start += 1
        end = start + (self._token(start).kind == "word" and self._token(start + 1).text == "(")
        if self._token(end).text == "(":
            end = self._partners[end]
        following = self._token(end + 1).text
        if following in _ARITHMETIC:
            return _Operand("number", "a sum")
        return _Operand("text", "a text") if following == "||" else self._operand(start)

    def _operand(self, i: int) -> _Operand:
        token = self._token(i)
        if token.kind == "number" or (token.keyword in {"true", "false"} and token.keyword not in self._columns):
            return _Operand("number", token.text)
        if token.kind == "string":
            return _Operand("text", shortened(token.text[1:-1]), literal=token.text[1:-1].replace("''", "'"))
        if token.kind == "word" and self._token(i + 1).text == "(":
            return self._function(i)
        if token.kind not in {"word", "quoted"}:
            return self._in_brackets(i) if token.keyword == "(" else _Operand("")
        column = self._columns.get(token.name.casefold())
        if column is None:
            is_text = token.kind == "quoted" and token.text[0] == '"'
            return _Operand("text", shortened(token.name), literal=token.name) if is_text else _Operand("")
        kind = _TYPES.get(self._kinds.get(column, ""), "")
        return _Operand(kind, column, column=column)  # type: ignore[arg-type]

    def _is_called(self, i: int) -> bool:
        """Whether token `i`, before a bracket, is the name of a function."""
        return self._token(i).kind == "word" and self._token(i).keyword not in _WORDS_BEFORE_BRACKETS

    def _in_brackets(self, i: int) -> _Operand:
        """Return the operand that the brackets at token `i` hold alone, or a sum; other terms have no type."""
        end = self._partners[i]
        while self._token(i + 1).text == "(" and self._partners[i + 1] == end - 1:
            i, end = i + 1, end - 1
        is_call = self._is_called(i + 1) and self._token(i + 2).text == "("
        last = self._partners[i + 2] if is_call else i + 1
        return self._operand(i + 1) if last == end - 1 else self._sum(i + 1, end)

    def _sum(self, start: int, end: int) -> _Operand:
        """Return the type of what stands between two tokens, if operators of numbers or texts are all that joins it."""
        found, at = _Operand(""), start
        while at < end:
            token = self._token(at)
            if token.keyword in _WORDS_BEFORE_BRACKETS | _COMPARISONS or token.text == ",":
                return _Operand("")
            if at > start and token.text in _ARITHMETIC:
                found = _Operand("number", "a sum")
            elif token.text == "||":
                return _Operand("text", "a text")
            at = self._partners.get(at, at) + 1
        return found

    def _chosen(self, i: int, n_arguments: int | None) -> _Operand:
        """Return the argument that a function may give: a column of text, if one is among them."""
        if self._n_calls >= _MAX_CALLS:
            return _Operand("")
        self._n_calls += 1
        given = [self._after(at) for at in self._members(i)[:n_arguments]]
        self._n_calls -= 1
        columns = sorted((operand for operand in given if operand.column), key=lambda operand: operand.type != "text")
        if not columns or columns[0].type == "text":
            return columns[0] if columns else _Operand("")
        return _Operand(columns[0].type, columns[0].shown)

    def _function(self, i: int) -> _Operand:
        name = self._token(i).keyword
        if name in _CHOOSING_FUNCTIONS:
            return self._chosen(i, _CHOOSING_FUNCTIONS[name])
        if name in _TEXT_FUNCTIONS:
            return _Operand("text", f"{name}(...)")
        return _Operand("number", f"{name}(...)") if name in _NUMBER_FUNCTIONS else _Operand("")

    def _ends_operand(self, i: int) -> bool:
        """Whether an operand ends with token `i`, so that a minus after it is no sign."""
        token = self._token(i)
        if token.kind == "word":
            return token.name.casefold() in self._columns
        return token.kind in {"number", "string", "quoted"} or token.text == ")"

    def _limits(self, i: int) -> list[int]:
        """Return the tokens before the two limits of the BETWEEN at token `i`."""
        at = i + 1
        while at < len(self._tokens) and self._token(at).keyword not in {"and", "or", "between", ")"}:
            at = self._partners.get(at, at) + 1
        return [i, at] if self._token(at).keyword == "and" else [i]

    def _members(self, i: int) -> list[int]:
        """Return the tokens before the values of the IN at token `i`."""
        if self._token(i + 1).text != "(":
            return []
        members, at = [i + 1], i + 2
        while at < self._partners[i + 1]:
            if self._token(at).text == ",":
                members.append(at)
            at = self._partners.get(at, at) + 1
        return members


def _partners_of(tokens: Sequence[Token]) -> tuple[dict[int, int], dict[int, int]]:
    """Return where each bracket that opens is closed, and the other way round; they are balanced."""
    closing, opening, opened = dict[int, int](), dict[int, int](), list[int]()
    for i, token in enumerate(tokens):
        if token.text == "(":
            opened.append(i)
        elif token.text == ")":
            opening[i] = opened.pop()
            closing[opening[i]] = i
    return closing, opening


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
