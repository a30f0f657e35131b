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


@pytest.mark.parametrize(
    ("text", "names", "left"),
    [
        ("a wedding film", ["wedding"], "a film"),
        ("wedding comedy", ["wedding", "Comedy"], ""),
        ("comedy about a wedding", ["Comedy", "wedding"], ""),  # what is before it belongs to it
        ("no films about the wedding", ["not wedding"], "no films"),
        ("wedding", ["wedding"], ""),
        ("no wedding please", ["not wedding"], "no please"),
        ("a wedding", [], "a wedding"),
        ("about a wedding", [], "about a wedding"),
        ("comedy about a wedding in Rome", ["Comedy"], "about a wedding in Rome"),
        ("for my wedding", [], "for my wedding"),
        ("a wedding evening", [], "a wedding evening"),
        ("something like wedding", [], "something like wedding"),
    ],
)
def test_keywords_count_before_a_noun_after_about_and_alone(text: str, names: list[str], left: str) -> None:
    sentence = Sentence(text)
    found = genres_of(sentence)
    i = next(i for i in range(len(sentence)) if sentence.key(i) == "wedding")
    found = sorted([*found, Mention(i, i + 1, "theme", (Fact("keywords", "wedding"),))], key=lambda m: m.start)
    mentions = confirm_mentions(sentence, found)
    assert [f"{'not ' * m.is_excluded}{m.facts[0].value}" for m in mentions] == names
    taken = {i for mention in mentions for i in range(mention.start, mention.end)}
    assert " ".join(word.key for i, word in enumerate(sentence.words) if i not in taken) == left.lower()


def test_links_and_exclusions() -> None:
    sentence = Sentence("comedy and no horror or war")
    mentions = confirm_mentions(sentence, genres_of(sentence))
    assert [(m.facts[0].value, m.is_excluded, m.link) for m in mentions] == [
        ("Comedy", False, ""),
        ("Horror", True, "and"),
        ("War", True, "or"),  # as the one before
    ]
