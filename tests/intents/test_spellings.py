"""Spellings of values, kinds of columns, and names with one typing error."""

from __future__ import annotations

import pytest

from genrec_edge.intents.spellings import Kind, column_kind, names_by_outer_word, one_edit_away, spellings


@pytest.mark.parametrize(
    ("key", "column", "kind", "expected"),
    [
        ("comedy", "genres", "topic", ["comedy", "comedies"]),
        ("western", "genres", "topic", ["western", "westerns"]),
        ("news", "genres", "topic", ["news", "newses", "new"]),
        ("short stories", "genres", "topic", ["short stories", "short storieses", "short story"]),
        ("wedding", "keywords", "theme", ["wedding", "weddings"]),
        ("kurdish language", "Language", "language", ["kurdish language", "kurdish"]),
        ("france", "country", "place", ["france"]),
    ],
)
def test_spellings_of_a_value(key: str, column: str, kind: Kind, expected: list[str]) -> None:
    assert list(spellings(key, column, kind)) == expected


def test_kinds_of_columns() -> None:
    assert column_kind("Country", {"France": 1}) == "place"
    assert column_kind("language", {"French": 1}) == "language"
    assert column_kind("Keywords", {"serial killer": 1, "time travel": 1}) == "theme"
    assert column_kind("makers", {"Jim O'Hara": 1, "Ann Lee": 1, "Apple": 9}) == "person"
    assert column_kind("brand", {"Apple": 1, "Ann Lee": 1}) == "topic"


def test_names_are_found_by_their_first_and_last_word() -> None:
    names = names_by_outer_word(["tom hanks", "tom cruise", "cher", "samuel l jackson"])
    assert names[2, 0, "tom"] == ["tom hanks", "tom cruise"]
    assert names[2, 1, "hanks"] == ["tom hanks"]
    assert names[3, 2, "jackson"] == ["samuel l jackson"]
    assert (1, 0, "cher") not in names
    assert one_edit_away("tom cruse", names[2, 0, "tom"]) == {"tom cruise"}
