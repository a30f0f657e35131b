"""Whether a filter is cheap by its form, so that it can run in this process: SQLite can end it at any row.

Between two rows nothing can be interrupted. So a cheap filter has none of the functions whose time grows with the
product of two lengths, short patterns that are written out, and lists of literals only. Other filters are as good, and
run in a process of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.catalog.where_tokens import Token

_COSTLY_FUNCTIONS = frozenset({"glob", "instr", "like", "ltrim", "replace", "rtrim", "trim"})
_MAX_PATTERN_CHARACTERS = 200
_MAX_PATTERNS = 20
_MAX_COMPARISONS = 60
"""Each with a list column takes up to 2 MB."""
_COMPARISONS = frozenset({"=", "==", "!=", "<>", "in", "like"})


def is_cheap(tokens: Sequence[Token]) -> bool:
    """Return whether the filter that these tokens are takes little time and memory for each item."""
    keywords = [token.keyword for token in tokens] + ["", ""]
    n_patterns = sum(keyword in {"like", "glob"} for keyword in keywords)
    n_comparisons = sum(keyword in _COMPARISONS for keyword in keywords)
    if n_patterns > _MAX_PATTERNS or n_comparisons > _MAX_COMPARISONS:
        return False
    for i, token in enumerate(tokens):
        if token.keyword in _COSTLY_FUNCTIONS and keywords[i + 1] == "(":
            return False
        if token.keyword in {"like", "glob"} and not _is_short_text(tokens, i + 1):
            return False
        if token.keyword == "in" and not _is_list_of_literals(keywords, i + 1):
            return False
    return True


def _is_short_text(tokens: Sequence[Token], i: int) -> bool:
    return i < len(tokens) and tokens[i].kind == "string" and len(tokens[i].text) <= _MAX_PATTERN_CHARACTERS


def _is_list_of_literals(keywords: Sequence[str], i: int) -> bool:
    if keywords[i] != "(":
        return False
    while keywords[i + 1] in {"string", "number", "quoted"}:
        i += 2
        if keywords[i] == ")":
            return True
        if keywords[i] != ",":
            return False
    return False
