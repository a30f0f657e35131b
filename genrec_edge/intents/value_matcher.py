"""Values of a catalog in a sentence: by their spelling, by synonyms, by a surname, or with one typing error.

Which columns name people follows from the catalog: most of their values have several words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.catalog.facts import CREATORS, DECADE, PERFORMERS
from genrec_edge.intents.lexicon import (
    ADJECTIVES,
    ARTICLES,
    CONJUNCTIONS,
    COUNTRY_NAMES,
    CREATOR_CUES,
    DETERMINERS,
    FILLERS,
    ITEM_NOUNS,
    NATIONALITIES,
    NEGATIONS,
    PERFORMER_CUES,
    PREPOSITIONS,
    SYNONYMS,
    Sentence,
    key_of,
    word_set,
)
from genrec_edge.intents.spellings import column_kind, names_by_outer_word, one_edit_away, spellings
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genrec_edge.catalog.facts import CatalogFacts
    from genrec_edge.intents.spellings import Kind

_COLUMNS_BY_ROLE: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(CREATOR_CUES, CREATORS),
    **dict.fromkeys(PERFORMER_CUES, PERFORMERS),
}
"""The columns of people that a word before a name asks for."""
_PLACES = {key_of(name) for names in (*NATIONALITIES.values(), *COUNTRY_NAMES) for name in names} | {*NATIONALITIES}
_FUNCTION_WORDS = NEGATIONS | word_set("something anything everything other another all any some")
_ORDINARY_WORDS = FILLERS | NEGATIONS | CONJUNCTIONS | PREPOSITIONS | ITEM_NOUNS | word_set("be as go so")
_SURNAME_PARTICLES = word_set("de del della di da von van der den ten la le du el ben bin")
_MAX_WORDS = 8
"""Of a value."""
_MIN_LETTERS_OF_A_NAME = 8
_MIN_LETTERS_OF_A_TERM = 6
"""Shorter names and words may not have a typing error."""
_MIN_LETTERS_OF_A_SURNAME = 5
_MIN_ITEMS_BY_SURNAME = 15
"""Items of a person who is meant by the surname alone."""
_MIN_SHARE_BY_SURNAME = 0.7
"""Their share of the items of all people with that surname."""
_MAX_TITLES_WITH_SURNAME = 2
"""A word that is in more titles is an ordinary word."""


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """Words `start` to `end` (exclusive) of a sentence may mean one of these facts, the likeliest first.

    Attributes:
        needs_noun: the words mean a value only before a noun: "a romantic film".
        is_surname: the words are a surname alone.
        role: the word before a name that says what the person did, empty without one.
    """

    start: int
    end: int
    facts: tuple[Fact, ...]
    kind: Kind
    needs_noun: bool = False
    is_surname: bool = False
    role: str = ""


class ValueMatcher:
    """Finds the values of a catalog in sentences; the values are read once."""

    def __init__(self, facts: CatalogFacts) -> None:
        self._terms: defaultdict[str, list[Fact]] = defaultdict(list)
        """Facts that are not people, by each spelling."""
        self._people: defaultdict[str, list[Fact]] = defaultdict(list)
        """People, by their names."""
        self._kinds: dict[str, Kind] = {}
        self._title_words = Counter(
            word for _, key, _ in facts.catalog.title_keys() for word in dict.fromkeys(key.split())
        )
        n_items: Counter[str] = Counter()
        """Of each name of a person, in all columns."""
        for column in facts.columns:
            if column == DECADE:
                continue
            values = {str(value): count for value, count in facts.values(column).items()}
            kind = column_kind(column, values)
            self._kinds[column] = kind
            for value, count in values.items():
                key = key_of(value)
                if kind == "person":
                    self._people[key].append(Fact(column, value))
                    n_items[key] += count
                elif key:
                    for spelling in spellings(key, column, kind):
                        self._terms[spelling].append(Fact(column, value))
        self._surnames = self._people_by_surname(n_items)
        self._names_by_word = names_by_outer_word(n_items)
        self._single_words = [key for key in self._terms if " " not in key and len(key) >= _MIN_LETTERS_OF_A_TERM]
        self._add_synonyms()

    def match(self, sentence: Sentence, start: int, role: str = "") -> ValueMatch | None:
        """Return the longest value that the words from `start` on name, the right spelling before one with an error.

        `role` is that of the person before, to whom a conjunction joins these words: "by Woody Allen or Sidney Lumet".
        """
        role = role_before(sentence, start) or role
        end = start + 1
        while end < min(len(sentence), start + _MAX_WORDS) and sentence.words[end].gap in {" ", "-"}:
            end += 1
        for stop in range(end, start, -1):
            match = self._exact_match(sentence, start, stop, role)
            if match is not None:
                return match
        return self._misspelled_person(sentence, start, end, role) or self._misspelled_term(sentence, start)

    def _exact_match(self, sentence: Sentence, start: int, end: int, role: str) -> ValueMatch | None:
        key = sentence.keys(start, end)
        if key in self._terms:
            facts = tuple(dict.fromkeys(self._terms[key]))
            is_place = self._kinds[facts[0].column] == "place"
            if _is_a_function_word(sentence, start, end) or (is_place and _is_only_a_word(sentence, start, end)):
                return None
            return ValueMatch(start, end, facts, self._kinds[facts[0].column])
        if key in ADJECTIVES and ADJECTIVES[key] in self._terms:
            facts = tuple(self._terms[ADJECTIVES[key]])
            return ValueMatch(start, end, facts, self._kinds[facts[0].column], needs_noun=True)
        facts = tuple(self._people.get(key, ()))
        if facts and (end - start == 1 or sentence.key(start) in DETERMINERS | ARTICLES):
            is_name = role and sentence.words[end - 1].is_capital and key not in FILLERS
            facts = facts if is_name else ()
        if facts:
            return ValueMatch(start, end, _facts_of_role(facts, role), "person", role=role)
        facts = self._surnames.get(key, ())
        if not facts:
            return None
        return ValueMatch(start, end, _facts_of_role(facts, role), "person", is_surname=True, role=role)

    def _misspelled_person(self, sentence: Sentence, start: int, end: int, role: str) -> ValueMatch | None:
        """Return the person that two or three words mean, one of which has a typing error and is in no title."""
        for stop in range(min(start + 3, end), start + 1, -1):
            words = sentence.keys(start, stop).split()
            is_all_known = all(word in self._title_words for word in words)
            if is_all_known or sum(map(len, words)) < _MIN_LETTERS_OF_A_NAME - 1:
                continue
            n = len(words)
            near = one_edit_away(" ".join(words), self._names_by_word.get((n, 0, words[0]), ()))
            near |= one_edit_away(" ".join(words), self._names_by_word.get((n, n - 1, words[-1]), ()))
            near = {key for key in near if not self._differs_by_a_word(words, key.split())}
            if len(near) != 1:
                continue
            (key,) = near
            if len(key.replace(" ", "")) >= _MIN_LETTERS_OF_A_NAME:
                return ValueMatch(start, stop, _facts_of_role(tuple(self._people[key]), role), "person", role=role)
        return None

    def _differs_by_a_word(self, words: list[str], name: list[str]) -> bool:
        """Whether the number of words differs from that of a name, or a word that differs is in a title."""
        if len(words) != len(name):
            return True
        return any(a != b and a in self._title_words for a, b in zip(words, name, strict=True))

    def _misspelled_term(self, sentence: Sentence, start: int) -> ValueMatch | None:
        """Return the value that a word outside all titles misspells by one error inside it."""
        word = sentence.key(start)
        if len(word) < _MIN_LETTERS_OF_A_TERM - 1 or word in self._title_words or word in self._terms:
            return None
        near = [key for key in one_edit_away(word, self._single_words) if (key[0], key[-1]) == (word[0], word[-1])]
        if len(near) != 1:
            return None
        facts = tuple(self._terms[near[0]])
        return ValueMatch(start, start + 1, facts, self._kinds[facts[0].column])

    def _people_by_surname(self, n_items: Mapping[str, int]) -> dict[str, tuple[Fact, ...]]:
        """Return the people who are meant by their surname alone; `n_items` are those of each name."""
        names_by_surname: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for key, count in n_items.items():
            words = key.split()
            if len(words) > 1:
                n = 2 if len(words) > 2 and words[-2] in _SURNAME_PARTICLES else 1
                names_by_surname[" ".join(words[-n:])].append((count, key))
        found = {}
        for surname, names in names_by_surname.items():
            count, key = max(names)
            is_known = count >= _MIN_ITEMS_BY_SURNAME and count >= _MIN_SHARE_BY_SURNAME * sum(n for n, _ in names)
            last = surname.split()[-1]
            if (
                is_known
                and len(surname) >= _MIN_LETTERS_OF_A_SURNAME
                and self._title_words[last] <= _MAX_TITLES_WITH_SURNAME
            ):
                found[surname] = tuple(self._people[key])
        return found

    def _add_synonyms(self) -> None:
        for synonym, value in SYNONYMS.items():
            self._add_term(synonym, self._terms.get(value, []))
        for names in COUNTRY_NAMES:
            facts = [fact for name in names for fact in self._terms.get(key_of(name), ())]
            for name in names:
                self._add_term(key_of(name), [fact for fact in facts if self._kinds[fact.column] == "place"])
        for word, values in NATIONALITIES.items():
            facts = [fact for value in values for fact in self._terms.get(key_of(value), ())]
            self._add_term(word, [fact for fact in facts if self._kinds[fact.column] in {"place", "language"}])
        for key in list(self._people):
            words = key.split()
            without_initials = " ".join(word for i, word in enumerate(words) if len(word) > 1 or i == 0)
            if len(words) > 2 and " " in without_initials and without_initials not in self._people:
                self._people[without_initials] = self._people[key]

    def _add_term(self, spelling: str, facts: Sequence[Fact]) -> None:
        new = [fact for fact in facts if fact not in self._terms.get(spelling, ())]
        if new:
            self._terms[spelling] += new


def _is_a_function_word(sentence: Sentence, start: int, end: int) -> bool:
    """Whether what could be a value such as "Other" or "Show" is a word of the request: "other than", "show me"."""
    if end - start > 1:
        return False
    key = sentence.key(start)
    is_in_capitals = start > 0 and sentence.words[start].is_capital and not sentence.text.isupper()
    return (key in _FUNCTION_WORDS and not is_in_capitals) or (key in FILLERS and sentence.key(end) in {"me", "us"})


def _is_only_a_word(sentence: Sentence, start: int, end: int) -> bool:
    """Whether what could be the short name of a country is a word such as "us" or "it", by how it is written."""
    if end - start > 1 or sentence.key(start) not in _ORDINARY_WORDS:
        return False
    if sentence.key(start) == "us" and _stands_like_a_country(sentence, start):
        return False
    word = sentence.words[start]
    return not sentence.text[word.start : word.end].isupper() or sentence.text.isupper()


def _stands_like_a_country(sentence: Sentence, start: int) -> bool:
    """Whether "us" stands where the country does: "the us", "no us", "non-us", "the uk or us"."""
    before = sentence.before(start)
    if before in {"the", "from"} or before in NEGATIONS or sentence.words[start].gap == "-":
        return True
    is_joined_before = before in CONJUNCTIONS and sentence.key(start - 2) in _PLACES
    return is_joined_before or (sentence.key(start + 1) in CONJUNCTIONS and sentence.key(start + 2) in _PLACES)


def role_before(sentence: Sentence, start: int) -> str:
    """Return the word before a name that says what the person did, empty without one."""
    word = sentence.before(start)
    if word in ARTICLES:
        word = sentence.before(start - 1)
    return word if word in _COLUMNS_BY_ROLE else ""


def _facts_of_role(facts: tuple[Fact, ...], role: str) -> tuple[Fact, ...]:
    """Return the facts of the columns that a role asks for, all of them if there are none."""
    columns = _COLUMNS_BY_ROLE.get(role, frozenset())
    return tuple(fact for fact in facts if fact.column.casefold() in columns) or facts
