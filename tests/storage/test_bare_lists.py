"""Lists without quotes, as PostgreSQL and people write them."""

from __future__ import annotations

import pytest

from genrec_edge.storage.bare_lists import parse_bare_list


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{A,B}", ["A", "B"]),
        ('{A,"B C"}', ["A", "B C"]),
        (r'{"a \"b\"","c\\d","e,f"}', ['a "b"', r"c\d", "e,f"]),
        ("{NULL,A}", ["A"]),
        ('{"NULL"}', ["NULL"]),
        ("{}", []),
        ("{007,1.50}", ["007", "1.50"]),
        ("{http://a.b,C}", ["http://a.b", "C"]),
        ("[A, B]", ["A", "B"]),
        ("[Don't Look Now, Heat (1995)]", ["Don't Look Now", "Heat (1995)"]),
        ("[ Sci-Fi ,'War, Peace' , \"x\" ]", ["Sci-Fi", "War, Peace", "x"]),
        ("[NA, None]", ["NA"]),
        ("[]", []),
        ("[A,]", None),
        ("[A,,B]", None),
        ("{,}", None),
        ("{{A,B},{C,D}}", None),
        ("[A, [B]]", None),
        ("{id: 1, name: x}", None),
        ("{10:30,11:00}", None),
        ("['A': 1]", None),
        ("['A' B]", None),
        ("[A 'B', \"C]", None),
        ("[A, B}", None),
        ("(A, B)", None),
        ("A, B", None),
        ("[", None),
        ("", None),
        ("[" + "x," * 2**20 + "x]", None),
        ("[" + " " * 500_000 + "{]", None),
    ],
)
def test_bare_lists(text: str, values: list[str] | None) -> None:
    assert parse_bare_list(text) == values
