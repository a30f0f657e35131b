"""Which words that may name a fact do name it, and whether it is excluded."""

from __future__ import annotations

import pytest

from genrec_edge.intents.grammar import Mention, confirm_mentions
from genrec_edge.intents.lexicon import Sentence
from genrec_edge.records import Fact

GENRES = {"family": "Family", "comedy": "Comedy", "war": "War", "horror": "Horror"}


def genres_of(sentence: Sentence) -> list[Mention]:
    """Return every word that is a genre as a possible mention."""
    keys = [sentence.key(i) for i in range(len(sentence))]
    return [Mention(i, i + 1, "topic", (Fact("genres", GENRES[key]),)) for i, key in enumerate(keys) if key in GENRES]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a family film", ["Family"]),
        ("family, comedy", ["Family", "Comedy"]),
        ("a family evening", []),
        ("for my family", []),
        ("crime and war", []),
        ("war comedy", ["War", "Comedy"]),
        ("something like war", []),
        ("in the mood for comedy", ["Comedy"]),
        ("family comedy evening", []),  # "family" would need "comedy", which is not confirmed
    ],
)
def test_ordinary_words_name_facts_only_where_they_can(text: str, names: list[str]) -> None:
    sentence = Sentence(text)
    assert [mention.facts[0].value for mention in confirm_mentions(sentence, genres_of(sentence))] == names


def test_links_and_exclusions() -> None:
    sentence = Sentence("comedy and no horror or war")
    mentions = confirm_mentions(sentence, genres_of(sentence))
    assert [(m.facts[0].value, m.is_excluded, m.link) for m in mentions] == [
        ("Comedy", False, ""),
        ("Horror", True, "and"),
        ("War", True, "or"),  # as the one before
    ]
