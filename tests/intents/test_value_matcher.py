"""Values of the films in sentences: exact, by a synonym, a surname, or with a typing error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.intents.lexicon import Sentence
from genrec_edge.intents.value_matcher import ValueMatch, ValueMatcher, role_before
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from genrec_edge.catalog.reader import Catalog

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def matcher(films: Catalog) -> ValueMatcher:
    return ValueMatcher(CatalogFacts(films))


def test_the_longest_value_is_matched(matcher: ValueMatcher) -> None:
    sentence = Sentence("science fiction from the United States with Samuel Jackson")
    assert matcher.match(sentence, 0) == ValueMatch(0, 2, (Fact("genres", "Sci-Fi"),), "topic")
    assert matcher.match(sentence, 4) == ValueMatch(4, 6, (Fact("country", "United States"),), "place")
    jackson = (Fact("cast", "Samuel L. Jackson"),)
    assert matcher.match(sentence, 7) == ValueMatch(7, 9, jackson, "person", role="with")
    assert matcher.match(sentence, 2) is None


def test_a_role_chooses_the_column_of_a_person(matcher: ValueMatcher) -> None:
    both = (Fact("director", "Clint Eastwood"), Fact("cast", "Clint Eastwood"))
    for text, facts in (
        ("Clint Eastwood", both),
        ("by Clint Eastwood", both[:1]),
        ("starring Clint Eastwood", both[1:]),
    ):
        sentence = Sentence(text)
        match = matcher.match(sentence, len(sentence) - 2)
        assert match is not None
        assert match.facts == facts
    assert role_before(Sentence("with the Hanks"), 1) == "with"
    assert role_before(Sentence("about Hanks"), 1) == ""
    carried = matcher.match(Sentence("Clint Eastwood"), 0, role="by")
    assert carried is not None
    assert carried.facts == both[:1]


def test_adjectives_need_a_noun_and_surnames_are_marked(matcher: ValueMatcher) -> None:
    romantic = matcher.match(Sentence("romantic"), 0)
    assert romantic == ValueMatch(0, 1, (Fact("genres", "Romance"),), "topic", needs_noun=True)
    hitchcock = matcher.match(Sentence("Hitchcock"), 0)
    assert hitchcock is not None
    assert hitchcock.is_surname


def test_one_typing_error_is_allowed_in_long_words_outside_titles(matcher: ValueMatcher) -> None:
    cruise = matcher.match(Sentence("tom cruse"), 0)
    assert cruise is not None
    assert cruise.facts == (Fact("cast", "Tom Cruise"),)
    assert matcher.match(Sentence("thriler"), 0) == ValueMatch(0, 1, (Fact("genres", "Thriller"),), "topic")
    assert matcher.match(Sentence("hrror"), 0) is not None
    assert matcher.match(Sentence("darma"), 0) is None  # shorter than six letters
