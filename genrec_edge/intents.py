"""A sentence to a condition: which facts of the catalog it names, and what is left for the model.

Words are matched with the catalog's own values, longest first: by their spelling (case, accents and plurals do not
count), by the usual adjective of a country or genre, and, for names of two words and more, one typing error in eight
letters away. A value that is also an ordinary word ("family", "war") counts only where nothing else is said beside it:
in "a war film", not in "the war of the worlds".

Facts are joined by AND, those of one column that only one item can have at a time (decades, countries, languages) by
OR, as is everything with "or" between; "no", "not" and "without" exclude. "by" asks for a director, "with" for a member
of the cast.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from genrec_edge import titles
from genrec_edge.facts import DECADE, condition, decade, worded
from genrec_edge.intent_words import (
    ADJECTIVES,
    ASKS_FOR,
    FILLERS,
    NEGATIONS,
    ROLES,
    STRONG,
    YEARS,
    plain,
)
from genrec_edge.records import Fact, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from genrec_edge.facts import FactBook

_MAX_CHARACTERS = 2_000
_MAX_WORDS_OF_A_VALUE = 6
_WORD = re.compile(r"[^\W_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W_]+)*|[,;.!?]")
_LETTERS_PER_ERROR = 8
_LETTERS_OF_A_GENRE = 6
_EITHER = frozenset({DECADE, "country", "language", "years"})
"""Columns whose values exclude each other to a reader: several of them mean any of them."""
_PEOPLE = frozenset({"director", "cast"})
_LEAST_FILMS = 8
_TIMES_AS_KNOWN = 4
"""A surname alone means the person with so many items, and so many times as many as the next one."""


@dataclass(frozen=True, slots=True)
class _Find:
    """Words `start` to `stop` of the sentence, and what they name: any one of `facts`, or years as a condition."""

    start: int
    stop: int
    facts: tuple[Fact, ...]
    where: str
    column: str
    is_sure: bool = True
    is_excluded: bool = False


def told(reading: Reading | None) -> str | None:
    """Return what a model is told of an intention: the facts in the catalog's spelling, then the rest; None if nothing.

    >>> told(Reading("x", (Fact("genres", "Comedy"), Fact("decade", "1990s")), (), "with dogs"))
    'Comedy, 1990s; with dogs'
    """
    if reading is None:
        return None
    return "; ".join(filter(None, [worded(reading.facts), reading.rest])) or None


class IntentReader:
    """Reads sentences over the facts of one catalog; its values are read once, and again after it was changed."""

    def __init__(self, book: FactBook, revision: Callable[[], str]) -> None:
        self._book = book
        self._revision = revision
        self._known = ""
        self._values: dict[str, list[Fact]] = {}
        self._names: dict[str, list[tuple[str, int, Fact]]] = {}

    def read(self, sentence: str) -> Reading:
        """Return what a sentence names. It has no parts where it names nothing.

        At most 2,000 characters are read.
        """
        text = titles.printable(sentence[:_MAX_CHARACTERS]).strip()
        self._refresh()
        words = [match[0] for match in _WORD.finditer(text)]
        finds = self._finds(words)
        finds = [f for f in finds if f.is_sure or _stands_alone(f, finds, words)]
        finds = [replace(f, is_excluded=_is_excluded(f, finds, words)) for f in finds]
        parts = _parts(finds, words)
        facts = tuple(dict.fromkeys(f.facts[0] for f in finds if f.facts and not f.is_excluded))
        return Reading(sentence, facts, parts, _rest(finds, words) if finds else text)

    def _refresh(self) -> None:
        revision = self._revision()
        if revision == self._known:
            return
        values: defaultdict[str, list[Fact]] = defaultdict(list)
        names: defaultdict[str, list[tuple[str, int, Fact]]] = defaultdict(list)
        for column in self._book.columns:
            if column == DECADE:
                continue
            for value, count in self._book.values(column).items():
                spelled, fact = titles.key(value), Fact(column, value)
                values[spelled].append(fact)
                if column in _PEOPLE and " " in spelled:
                    for word in {spelled.split()[0], spelled.split()[-1]}:
                        names[word].append((spelled, count, fact))
        self._values, self._names, self._known = dict(values), dict(names), revision

    def _finds(self, words: Sequence[str]) -> list[_Find]:
        """Return what the sentence names, from left to right, the longest first where they overlap."""
        keys = [titles.key(word) for word in words]
        finds: list[_Find] = []
        at = 0
        while at < len(words):
            found = self._at(keys, words, at)
            if found is not None:
                finds.append(found)
            at = at + 1 if found is None else found.stop
        return finds

    def _at(self, keys: Sequence[str], words: Sequence[str], at: int) -> _Find | None:
        for pattern in YEARS:
            if (years := pattern(keys, at)) is not None:
                stop, first, last = years
                is_decade = first is not None and last == first + 9 and first % 10 == 0
                facts = (Fact(DECADE, decade(first)),) if is_decade and first is not None else ()
                return _Find(at, stop, facts, _years(first, last), "years" if not facts else DECADE)
        role = next((ROLES[k] for k in (keys[at - 1 : at] or [""]) if k in ROLES), None)
        for n in range(min(_MAX_WORDS_OF_A_VALUE, len(keys) - at), 0, -1):
            if "," in words[at : at + n - 1]:
                continue
            facts = self._named(keys[at : at + n], role)
            if facts:
                column = facts[0].column
                sure = n > 1 or column in {"country", "language"} or facts[0].value in STRONG or role is not None
                return _Find(at, at + n, facts, " OR ".join(condition([fact]) for fact in facts), column, sure)
        return self._surname(keys, words, at, role)

    def _named(self, keys: Sequence[str], role: str | None) -> tuple[Fact, ...]:
        """Return the facts that words name, the one that is meant most likely first."""
        spelled = " ".join(keys)
        if not spelled or (len(keys) == 1 and spelled in FILLERS):
            return ()
        found = list(self._values.get(spelled, ()))
        for value in (*ADJECTIVES.get(spelled, ()), plain(spelled)):
            found += [fact for fact in self._values.get(titles.key(value), ()) if fact not in found]
        if len(keys) == 1:
            found = [fact for fact in found if fact.column not in _PEOPLE or role is not None]
        if not found:
            found = self._nearly(keys, spelled) if len(keys) > 1 else self._misspelled(spelled)
        if role is not None and (of_role := [fact for fact in found if fact.column == role]):
            found = of_role
        return tuple(found)

    def _nearly(self, keys: Sequence[str], spelled: str) -> list[Fact]:
        """Return the people whose names are a typing error away, if first or last word is right."""
        if len(spelled.replace(" ", "")) < _LETTERS_PER_ERROR:
            return []
        from rapidfuzz.distance import OSA  # noqa: PLC0415 - slow to import, and most sentences name nobody

        candidates = [entry for word in {keys[0], keys[-1]} for entry in self._names.get(word, ())]
        most = len(spelled) // _LETTERS_PER_ERROR
        near = [
            (OSA.distance(spelled, name, score_cutoff=most), -count, fact)
            for name, count, fact in candidates
            if name.count(" ") == len(keys) - 1
        ]
        near = sorted((distance, count, fact) for distance, count, fact in near if distance <= most)
        return [fact for _, _, fact in near if fact.value == near[0][2].value] if near else []

    def _misspelled(self, word: str) -> list[Fact]:
        """Return the genre that a long word is one typing error away from."""
        from rapidfuzz.distance import OSA  # noqa: PLC0415

        if len(word) < _LETTERS_OF_A_GENRE:
            return []
        near = [v for v in STRONG if OSA.distance(word, titles.key(v), score_cutoff=1) <= 1]
        return [fact for value in near for fact in self._values.get(titles.key(value), ())]

    def _surname(self, keys: Sequence[str], words: Sequence[str], at: int, role: str | None) -> _Find | None:
        """Return whom a surname means: one who is known much better than all others, named as one names people."""
        if role is None and not (at and words[at][0].isupper()):
            return None
        bearers: defaultdict[str, int] = defaultdict(int)
        facts: defaultdict[str, list[Fact]] = defaultdict(list)
        for name, count, fact in self._names.get(keys[at], ()):
            if name.split()[-1] == keys[at] and role in {None, fact.column}:
                bearers[name] += count
                facts[name].append(fact)
        (best, n), *others = sorted(bearers.items(), key=lambda item: -item[1]) or [("", 0)]
        if n < _LEAST_FILMS or (others and others[0][1] * _TIMES_AS_KNOWN > n):
            return None
        found = tuple(facts[best])
        return _Find(at, at + 1, found, " OR ".join(condition([fact]) for fact in found), found[0].column)


def _years(first: int | None, last: int | None) -> str:
    if first is None:
        return f"year <= {last}"
    if last is None:
        return f"year >= {first}"
    return f"year = {first}" if first == last else f"year BETWEEN {first} AND {last}"


def _stands_alone(find: _Find, finds: Sequence[_Find], words: Sequence[str]) -> bool:
    """Whether nothing but fillers and other facts is said between the commas around a find."""
    taken = {at for other in finds for at in range(other.start, other.stop)}
    for step, start in ((-1, find.start - 1), (1, find.stop)):
        at = start
        while 0 <= at < len(words) and words[at] not in ",;.!?" and words[at].casefold() not in {"and", "or"}:
            if at not in taken and words[at].casefold() not in FILLERS | NEGATIONS:
                return False
            at += step
    return True


def _is_excluded(find: _Find, finds: Sequence[_Find], words: Sequence[str]) -> bool:
    """Whether a negation stands before a find, with nothing between but fillers and what is excluded with it."""
    taken = {at for other in finds for at in range(other.start, other.stop)}
    at = find.start - 1
    while at >= 0:
        word = words[at].casefold()
        if word in NEGATIONS:
            return True
        if at not in taken and word not in {"or", "a", "an", "any", "with", "by", "too", "in", "from"}:
            return False
        at -= 1
    return False


def _parts(finds: Sequence[_Find], words: Sequence[str]) -> tuple[str, ...]:
    """Return the conditions that the finds make, all of which are to hold."""
    groups: list[list[_Find]] = []
    for find in finds:
        before = groups[-1][-1] if groups else None
        joined = " ".join(words[before.stop : find.start]).casefold() if before else ""
        together = before is not None and not before.is_excluded and not find.is_excluded
        either = together and (joined == "or" or (before is not None and before.column == find.column in _EITHER))
        if either:
            groups[-1].append(find)
        else:
            groups.append([find])
    return tuple(_group(group) for group in groups)


def _group(group: Sequence[_Find]) -> str:
    where = " OR ".join(dict.fromkeys(find.where for find in group))
    if group[0].is_excluded:
        return f"NOT ({where})"
    return f"({where})" if " OR " in where else where


def _rest(finds: Sequence[_Find], words: Sequence[str]) -> str:
    """Return what is left of a sentence, without what only joined the facts to it; empty if it is nothing but that."""
    taken = {at for find in finds for at in range(find.start, find.stop)}
    for find in finds:
        at = find.start - 1
        while at >= 0 and words[at].casefold() in NEGATIONS | ASKS_FOR:
            taken.add(at)
            at -= 1
        if find.stop < len(words) and words[find.stop].casefold() in ASKS_FOR:
            taken.add(find.stop)
    left = [word for at, word in enumerate(words) if at not in taken]
    if all(word.casefold() in FILLERS or word in ",;.!?" for word in left):
        return ""
    text = re.sub(r"\s+([,;.!?])", r"\1", " ".join(left))
    text = re.sub(r"(?:[,;]\s*)+([,;.!?])", r"\1", text)
    return re.sub(
        r"^(?:and|or|but|with|[,;.!?\s])+\s|[,;\s]+$|\s(?:and|or|but|with|from|in|by)$", "", f"{text}"
    ).strip()
