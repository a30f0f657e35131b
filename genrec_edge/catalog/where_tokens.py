"""A filter as a list of tokens: what words, names, literals and operators a condition may be made of.

Knows the syntax alone, neither columns nor SQLite. Comments, semicolons, parameters and anything else that does not
belong in a condition are refused here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from genrec_edge.errors import UsageError

FUNCTIONS = frozenset(
    """
    abs ceil coalesce date datetime floor glob ifnull iif instr length like lower ltrim max min nullif replace round
    rtrim sign strftime substr substring trim typeof unicode upper
    """.split()  # noqa: SIM905 - a list would have a line for each
)
"""Functions of SQLite that a filter may call: pure ones, whose results cannot be large."""
KEYWORDS = frozenset(
    """
    and or not in like glob between is null isnull notnull escape collate case when then else end true false distinct
    from as
    """.split()  # noqa: SIM905 - a list would have a line for each
)
"""Words of SQL that a filter may use."""

_MAX_CHARACTERS = 20_000
_MAX_SHOWN_CHARACTERS = 80
_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<refused>--|/\*|;)
    | (?P<string>'(?:[^'\0]|'')*')
    | (?P<quoted>"(?:[^"\0]|"")*"|`[^`\0]*`|\[[^\]\0]*\])
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w$]))
    | (?P<word>[^\W\d][\w$]*)
    | (?P<operator><>|<=|>=|==|!=|\|\||<<|>>|[-+*/%&|~<>=(),])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a filter. `kind` is "string", "quoted", "number", "word" or "operator"."""

    kind: str
    text: str

    @property
    def keyword(self) -> str:
        """A word or an operator in lower case; for any other token its kind, so that no text passes for a keyword."""
        return self.text.lower() if self.kind in {"word", "operator"} else self.kind

    @property
    def name(self) -> str:
        """The identifier that a word or a quoted token stands for."""
        if self.kind != "quoted":
            return self.text
        inner = self.text[1:-1]
        return inner.replace('""', '"') if self.text[0] == '"' else inner


def tokenize(where: str) -> list[Token]:
    """Return the tokens of a filter, without white space; its brackets are balanced.

    Raises:
        UsageError: it is empty, too long, not valid Unicode, or has something that does not belong in a condition.
    """
    _check_text(where)
    tokens: list[Token] = []
    position = n_open = 0
    while position < len(where):
        match = _TOKEN.match(where, position)
        if match is None or match.lastgroup == "refused":
            text = match[0] if match else where[position]
            raise filter_error(where, f"{text!r} is not allowed in a condition")
        if match[0] == "(":
            n_open += 1
        elif match[0] == ")":
            n_open -= 1
        if n_open < 0:
            raise filter_error(where, "a bracket is closed that was not opened")
        if match.lastgroup != "space":
            tokens.append(Token(str(match.lastgroup), match[0]))
        position = match.end()
    if n_open:
        raise filter_error(where, "a bracket is not closed")
    return tokens


def _check_text(where: str) -> None:
    if not where.strip():
        raise UsageError("`where` is empty", hint="write a condition such as year >= 1990")
    if len(where) > _MAX_CHARACTERS:
        raise UsageError(f"`where` must have at most {_MAX_CHARACTERS:,} characters, got {len(where):,}")
    if where != where.encode(errors="replace").decode():
        raise filter_error(where, "it is not valid Unicode (it has a lone surrogate)")


def filter_error(where: str, finding: str, hint: str = "") -> UsageError:
    """Return the error about a filter, which it quotes."""
    return UsageError(f"the filter {shortened(where)} cannot be used: {finding}", hint=hint)


def shortened(text: str) -> str:
    """Return text in quotes, on one line, cut to at most 80 characters."""
    line = " ".join(text.split())
    if len(line) > _MAX_SHOWN_CHARACTERS:
        line = f"{line[: _MAX_SHOWN_CHARACTERS - 3]}..."
    return repr(line)
