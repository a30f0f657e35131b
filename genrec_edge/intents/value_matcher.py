"""How the values of a catalog may be written in a sentence: their spellings, forms, surnames and typing errors.

Which values are names of people is seen from the catalog: in their columns most values have several words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from genrec_edge.catalog.facts import DECADE
from genrec_edge.intents.lexicon import (
    ADJECTIVES,
    ARTICLES,
    CREATED,
    DEFINITE,
    FILLERS,
    FORMS,
    NATIONS,
    PERFORMED,
    Sentence,
    key_of,
    word_set,
)
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from genrec_edge.catalog.facts import CatalogFacts

Kind = Literal["topic", "place", "language", "person"]

_PLACES = frozenset({"country", "countries", "nation", "nationality"})
_LANGUAGES = frozenset({"language", "languages"})
_COLUMNS_OF_ROLES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(CREATED, word_set("director directors author authors artist artists writer writers")),
    **dict.fromkeys(PERFORMED, word_set("cast actor actors star stars")),
}
"""What the word before a name says of the person, as a column."""
_PARTICLES = word_set("de del della di da von van der den ten la le du el ben bin")
_MOST_WORDS = 8
_MIN_LETTERS_OF_A_NAME = 8
_MIN_LETTERS_OF_A_TERM = 6
_MIN_LETTERS_OF_A_SURNAME = 5
_MIN_ITEMS = 15
_MIN_SHARE = 0.7
_MAX_TITLES = 2
"""A surname alone means one who has so many items, and such a share of those of all who are called that; a word that
stands in more titles is an ordinary one."""


@dataclass(frozen=True, slots=True)
class NamedValue:
    """Words `start` to `end` (exclusive) of a sentence may mean one of these facts, the likeliest first."""

    start: int
    end: int
    facts: tuple[Fact, ...]
    kind: Kind
    needs_noun: bool = False
    is_surname: bool = False
    role: str = ""


class ValueNames:
    """The spellings of all values of a catalog as it is now."""

    def __init__(self, book: CatalogFacts) -> None:
        self._terms: defaultdict[str, list[Fact]] = defaultdict(list)
        self._people: defaultdict[str, list[Fact]] = defaultdict(list)
        self._kinds: dict[str, Kind] = {}
        self._title_words = Counter(
            word for _, key, _ in book.catalog.title_keys() for word in dict.fromkeys(key.split())
        )
        credits_: Counter[str] = Counter()
        for column in book.columns:
            if column == DECADE:
                continue
            values = {str(value): count for value, count in book.values(column).items()}
            self._kinds[column] = kind = _kind(column, values)
            for value, count in values.items():
                key = key_of(value)
                if kind == "person":
                    self._people[key].append(Fact(column, value))
                    credits_[key] += count
                elif key:
                    for form in _forms(key, column, kind):
                        self._terms[form].append(Fact(column, value))
        self._surnames = self._known_by_surname(credits_)
        self._sharing = _by_first_and_last(credits_)
        self._single = [key for key in self._terms if " " not in key and len(key) >= _MIN_LETTERS_OF_A_TERM]
        self._add_forms()

    def at(self, sentence: Sentence, start: int, role: str = "") -> NamedValue | None:
        """Return the longest value that is named by the words from `start` on, a right spelling before a wrong one.

        `role` is the word that says what the person before, to whom these words are joined, did.
        """
        role = role_before(sentence, start) or role
        end = start + 1
        while end < min(len(sentence), start + _MOST_WORDS) and sentence.words[end].gap in {" ", "-"}:
            end += 1
        for stop in range(end, start, -1):
            found = self._exactly(sentence, start, stop, role)
            if found is not None:
                return found
        return self._person_nearly(sentence, start, end, role) or self._term_nearly(sentence, start)

    def _exactly(self, sentence: Sentence, start: int, end: int, role: str) -> NamedValue | None:
        key = sentence.keys(start, end)
        if key in self._terms:
            facts = tuple(dict.fromkeys(self._terms[key]))
            return NamedValue(start, end, facts, self._kinds[facts[0].column])
        if key in ADJECTIVES and ADJECTIVES[key] in self._terms:
            facts = tuple(self._terms[ADJECTIVES[key]])
            return NamedValue(start, end, facts, self._kinds[facts[0].column], needs_noun=True)
        facts = tuple(self._people.get(key, ()))
        if facts and (end - start == 1 or sentence.key(start) in DEFINITE | ARTICLES):
            is_name = role and sentence.words[end - 1].is_capital and key not in FILLERS
            facts = facts if is_name else ()
        if facts:
            return NamedValue(start, end, _of_role(facts, role), "person", role=role)
        facts = self._surnames.get(key, ())
        return NamedValue(start, end, _of_role(facts, role), "person", is_surname=True, role=role) if facts else None

    def _person_nearly(self, sentence: Sentence, start: int, end: int, role: str) -> NamedValue | None:
        """Return whom two or three words mean, one of which has a typing error and is no other word."""
        for stop in range(min(start + 3, end), start + 1, -1):
            words = sentence.keys(start, stop).split()
            strange = [word for word in words if word not in self._title_words]
            if not strange or sum(map(len, words)) < _MIN_LETTERS_OF_A_NAME - 1:
                continue
            n = len(words)
            near = _nearest(" ".join(words), self._sharing.get((n, 0, words[0]), ()))
            near |= _nearest(" ".join(words), self._sharing.get((n, n - 1, words[-1]), ()))
            near = {key for key in near if not self._differs_by_a_word(words, key.split())}
            if len(near) == 1 and len(key := near.pop()) - n + 1 >= _MIN_LETTERS_OF_A_NAME:
                return NamedValue(start, stop, _of_role(tuple(self._people[key]), role), "person", role=role)
        return None

    def _differs_by_a_word(self, words: list[str], name: list[str]) -> bool:
        """Whether what differs from a name is a word that titles have, or the number of words."""
        return len(words) != len(name) or any(
            a != b and a in self._title_words for a, b in zip(words, name, strict=True)
        )

    def _term_nearly(self, sentence: Sentence, start: int) -> NamedValue | None:
        """Return the value that a word unknown to titles is one error away from, first and last letter being right."""
        word = sentence.key(start)
        if len(word) < _MIN_LETTERS_OF_A_TERM - 1 or word in self._title_words:
            return None
        near = [key for key in _nearest(word, self._single) if (key[0], key[-1]) == (word[0], word[-1])]
        if len(near) != 1:
            return None
        facts = tuple(self._terms[near[0]])
        return NamedValue(start, start + 1, facts, self._kinds[facts[0].column])

    def _known_by_surname(self, credits_: Mapping[str, int]) -> dict[str, tuple[Fact, ...]]:
        bearers: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for key, count in credits_.items():
            words = key.split()
            if len(words) > 1:
                n = 2 if len(words) > 2 and words[-2] in _PARTICLES else 1
                bearers[" ".join(words[-n:])].append((count, key))
        found = {}
        for surname, people in bearers.items():
            count, key = max(people)
            is_known = count >= _MIN_ITEMS and count >= _MIN_SHARE * sum(n for n, _ in people)
            last = surname.split()[-1]
            if is_known and len(surname) >= _MIN_LETTERS_OF_A_SURNAME and self._title_words[last] <= _MAX_TITLES:
                found[surname] = tuple(self._people[key])
        return found

    def _add_forms(self) -> None:
        for form, meant in FORMS.items():
            self._terms[form] += [fact for fact in self._terms.get(meant, ()) if fact not in self._terms[form]]
        for form, values in NATIONS.items():
            facts = [fact for value in values for fact in self._terms.get(key_of(value), ())]
            of_nations = [fact for fact in facts if self._kinds[fact.column] in {"place", "language"}]
            self._terms[form] += [fact for fact in of_nations if fact not in self._terms[form]]
        for form in [form for form, facts in self._terms.items() if not facts]:
            del self._terms[form]
        for key in [key for key in self._people if len(key.split()) > 2]:  # initials are often left out
            short = " ".join(word for i, word in enumerate(key.split()) if len(word) > 1 or not i)
            if " " in short and short not in self._people:
                self._people[short] = self._people[key]


def _kind(column: str, values: Mapping[str, int]) -> Kind:
    if column.casefold() in _PLACES:
        return "place"
    if column.casefold() in _LANGUAGES:
        return "language"
    return "person" if sum(" " in value for value in values) * 2 > len(values) else "topic"


def _forms(key: str, column: str, kind: Kind) -> Iterable[str]:
    """Return a key, its plural and singular, and without the name of its column: "Kurdish language" is Kurdish."""
    yield key
    if kind == "topic":
        yield f"{key[:-1]}ies" if key.endswith("y") else f"{key}es" if key.endswith(("s", "x", "ch")) else f"{key}s"
        if key.endswith("ies"):
            yield f"{key[:-3]}y"
        elif key.endswith("s") and not key.endswith("ss"):
            yield key[:-1]
    if key.endswith(f" {column.casefold()}"):
        yield key.removesuffix(f" {column.casefold()}")


def _by_first_and_last(names: Iterable[str]) -> dict[tuple[int, int, str], list[str]]:
    """Map (number of words, where, word) to names: one error leaves the first or the last word as it is."""
    found: defaultdict[tuple[int, int, str], list[str]] = defaultdict(list)
    for name in names:
        words = name.split()
        if len(words) in {2, 3}:
            found[len(words), 0, words[0]].append(name)
            found[len(words), len(words) - 1, words[-1]].append(name)
    return dict(found)


def _nearest(text: str, among: Iterable[str]) -> set[str]:
    """Return the texts that are one typing error away."""
    from rapidfuzz import process  # noqa: PLC0415 - slow to import, and most sentences need neither
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    return {key for key, *_ in process.extract_iter(text, among, scorer=OSA.distance, score_cutoff=1)}


def role_before(sentence: Sentence, start: int) -> str:
    """Return the word before a name that says what the person did, empty without one."""
    word = sentence.before(start)
    if word in ARTICLES:
        word = sentence.before(start - 1)
    return word if word in _COLUMNS_OF_ROLES else ""


def _of_role(facts: tuple[Fact, ...], role: str) -> tuple[Fact, ...]:
    columns = _COLUMNS_OF_ROLES.get(role, frozenset())
    return tuple(fact for fact in facts if fact.column.casefold() in columns) or facts
