"""Typing errors: keys near a text, and which differences can be a slip."""

from __future__ import annotations

import pytest

from genrec_edge.catalog.fuzzy import NearKey, TitleKeys

KEYS = TitleKeys(["the matrix", "heat", "toy story", "toy story 2", "the king", "predator", "seven samurai", "heat"])


def test_near_keys_are_sorted_by_edits_and_may_lack_an_article() -> None:
    assert KEYS.near("teh matrix", 5) == [NearKey("the matrix", 1)]
    assert KEYS.near("matrx", 5) == [NearKey("the matrix", 1)]
    assert KEYS.near("toy story", 5) == [NearKey("toy story", 0), NearKey("toy story 2", 2)]
    assert KEYS.near("toy story", 1) == [NearKey("toy story", 0)]
    assert KEYS.near("nothing like it", 5) == []


def test_similar_keys_come_best_first() -> None:
    assert KEYS.similar("a toy storys", 2) == ["toy story", "toy story 2"]
    assert KEYS.similar("zzz", 5) == []


@pytest.mark.parametrize(
    ("written", "meant", "expected"),
    [
        ("teh matrix", "the matrix", True),
        ("sevn samuari", "seven samurai", True),
        ("toystory", "toy story", True),  # a space is missing
        ("the ring", "the king", False),  # one word, with another first letter
        ("the kind", "the king", True),
        ("predators", "predator", False),  # a plural is another title
        ("toy story 3", "toy story 2", False),  # a number is another title
        ("heat story", "toy story", False),  # "heat" is a word of the catalog
        ("toy story", "toy story", False),  # nothing differs
    ],
)
def test_what_can_be_a_typing_error(written: str, meant: str, *, expected: bool) -> None:
    assert KEYS.is_typing_error(written, meant) is expected
