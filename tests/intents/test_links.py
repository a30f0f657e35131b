"""The words between two facts: how they are joined, and what a negation excludes."""

from __future__ import annotations

import pytest

from genrec_edge.intents.lexicon import Sentence
from genrec_edge.intents.links import is_excluded, link_between


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("comedy or drama", "or"),
        ("comedy, no horror nor drama", ""),  # another fact is between them
        ("comedy and drama", "and"),
        ("comedy, drama", "and"),
        ("comedy with drama", "with"),
        ("comedy drama", "with"),
        ("comedy about two brothers drama", ""),
    ],
)
def test_how_the_first_and_the_last_word_are_joined(text: str, link: str) -> None:
    sentence = Sentence(text)
    assert link_between(sentence, 1, len(sentence) - 1) == link


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no horror", True),
        ("nothing from the horror", True),
        ("I am tired of horror", True),
        ("anything but horror", True),
        ("nothing but horror", False),
        ("anything other than horror", True),
        ("not an especially good horror", None),  # what the negation belongs to is unclear
        ("no drama, horror", False),  # it belongs to another phrase
        ("a good horror", False),
    ],
)
def test_what_is_excluded(text: str, *, expected: bool | None) -> None:
    sentence = Sentence(text)
    assert is_excluded(sentence, 0, len(sentence) - 1) is expected
