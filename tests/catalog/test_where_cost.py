"""Which filters run in this process: cheap ones, by their form alone."""

from __future__ import annotations

import pytest

from genrec_edge.catalog.where_cost import is_cheap
from genrec_edge.catalog.where_tokens import tokenize


@pytest.mark.parametrize(
    "where",
    [
        "year >= 1990 AND genre = 'Comedy'",
        "title LIKE '%a%' OR title NOT LIKE 'b%' ESCAPE '!'",
        "lower(title) GLOB 'the *'",
        "year IN (1950, 1951,1952) AND genre NOT IN ('War', \"Drama\")",
        f"id IN ({', '.join(str(i) for i in range(2000))})",
        'length(trim_) > 3 AND "replace" = 1',
        "CASE WHEN year > 2000 THEN 1 ELSE title || 'x' END",
    ],
)
def test_comparisons_and_short_patterns_are_cheap(where: str) -> None:
    assert is_cheap(tokenize(where))


@pytest.mark.parametrize(
    "where",
    [
        "instr(title, 'a')",
        "REPLACE (title, 'a', 'b') = 1",
        "trim(title) = 'a'",
        "like('%a%', title)",
        "title LIKE genres",
        "title LIKE",
        "title GLOB 'a' || title AND glob = 1",
        f"title LIKE '{'a' * 200}'",
        " OR ".join(["title LIKE '%a'"] * 21),
        " OR ".join(["genre = 'a'"] * 61),
        "(1, year) IN ((1, 2))",
        "year IN (1, runtime)",
        "year IN ()",
        "year IN (1 2)",
        "year IN",
    ],
)
def test_what_may_take_long_is_not(where: str) -> None:
    assert not is_cheap(tokenize(where))
