"""A sentence to a condition: which facts of the catalog it names, and what is left for the model.

Words are matched with the catalog's own values, longest first: by their spelling (case, accents, plurals and initials
do not count), by everyday words for a country, a language or a genre (`lexicon.py`), and with one typing error in names
of eight letters and more (`value_matcher.py`). A surname alone counts if it belongs to one well-known person. Years are
read by `years.py`; `grammar.py` decides whether an ordinary word names a fact in its sentence.

Facts are joined by AND: "comedy, drama" and "comedy and drama" are items that are both. Values of a column that usually
holds one (countries, languages, directors) and decades are joined by OR, as is everything with "or" between: facts of
one kind closely, others with all that stands on their side ("French comedy or Italian drama"). A value in several
columns means any of them, unless "by" asks for who made an item or "with" for who is in it. "no", "not", "without",
"nothing with", "anything but" exclude; items about which the catalog says nothing are not excluded.

How often that is right, for the films that come with the package (`figures` in
`tests/intents/test_parser.py`, seed 7):

                               n   facts  recall  precision  none found
    facts alone             1500    4498   0.993      0.999       0.000
    in a sentence           1500    3076   0.999      1.000       0.000
    in small letters        1500    3076   0.997      1.000       0.000
    in unseen sentences     1500    3210   0.743      1.000       0.075
    a name with an error    1500    1500   0.914      0.991       0.078
    vague                    161       0       -          -       0.981
    titles                  1500       0       -          -       0.967

"Unseen" sentences were written after the parser was finished; the others are what it was made for. Vague sentences and
titles name no fact; of the titles that are read as facts, many hold the name of a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.catalog.facts import DECADE, facts_condition, facts_text
from genrec_edge.intents.grammar import Mention, confirm_mentions
from genrec_edge.intents.lexicon import (
    ARTICLES,
    CONJUNCTIONS,
    DETERMINERS,
    FILLERS,
    ITEM_NOUNS,
    NEGATIONS,
    Sentence,
    word_set,
)
from genrec_edge.intents.value_matcher import ValueMatcher
from genrec_edge.intents.years import year_spans
from genrec_edge.records import Reading

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from genrec_edge.catalog.facts import CatalogFacts

_MAX_MENTIONS = 20
"""Later mentions stay in the remaining text."""
_MAX_VALUES_OF_SINGLE = 1.5
"""Values per item with any; a column with fewer usually has one value for an item."""
_LEADING = ARTICLES | CONJUNCTIONS | {"the", "but"}
_TRAILING = (
    ARTICLES
    | CONJUNCTIONS
    | DETERMINERS
    | NEGATIONS
    | word_set("but with from in by of starring featuring directed made during than apart other anything set")
)


def intent_text(reading: Reading | None) -> str | None:
    """Return an intention as a prompt states it: the facts in the catalog's spelling, then the rest; None if empty.

    >>> from genrec_edge.records import Fact
    >>> intent_text(Reading("x", (Fact("genres", "Comedy"), Fact("decade", "1990s")), (), "with dogs"))
    'Comedy, 1990s; with dogs'
    """
    if reading is None:
        return None
    return "; ".join(filter(None, [facts_text(reading.facts), reading.rest])) or None


class IntentParser:
    """Reads sentences with the facts of one catalog; its values are read once, and again after it was changed.

    May be shared between threads.
    """

    def __init__(self, facts: CatalogFacts) -> None:
        self._facts = facts
        self._loaded: tuple[str, ValueMatcher, frozenset[str]] | None = None
        """The revision of the catalog, its values, and the columns that usually have one value for an item."""

    def parse(self, sentence: str) -> Reading:
        """Return what a sentence names; any text is allowed. Without facts and years it has no parts.

        At most 2,000 characters are read. A decade is a fact, other years are conditions only.
        """
        matcher, single_value_columns = self._values()
        words = Sentence(sentence)
        mentions = _distinct(confirm_mentions(words, _possible_mentions(words, matcher)))[:_MAX_MENTIONS]
        wanted = dict.fromkeys(m.facts[0] for m in mentions if m.facts and not m.is_excluded)
        parts = _conditions(mentions, single_value_columns, self._facts.catalog.list_columns)
        return Reading(sentence, tuple(wanted), parts, _remaining_text(words, mentions) if mentions else words.text)

    def _values(self) -> tuple[ValueMatcher, frozenset[str]]:
        """Return the matcher of all values, and the columns that usually have one value for an item."""
        revision = self._facts.catalog.revision
        loaded = self._loaded
        if loaded is None or loaded[0] != revision:
            single = frozenset(column for column in self._facts.columns if self._usually_has_one_value(column))
            loaded = (revision, ValueMatcher(self._facts), single)
            self._loaded = loaded
        return loaded[1], loaded[2]

    def _usually_has_one_value(self, column: str) -> bool:
        catalog = self._facts.catalog
        if column not in catalog.list_columns:
            return True
        query = "SELECT count(*), count(DISTINCT item) FROM item_values WHERE field = ?"
        ((n_values, n_items),) = catalog.query(query, [column])
        return bool(n_values < _MAX_VALUES_OF_SINGLE * n_items)


def _possible_mentions(sentence: Sentence, matcher: ValueMatcher) -> list[Mention]:
    """Return what the words may mean, from left to right; values are preferred to years where they overlap."""
    found: list[Mention] = []
    i, role = 0, ""
    while i < len(sentence):
        value = matcher.match(sentence, i, role)
        if value is None:
            if sentence.key(i) not in CONJUNCTIONS:
                role = ""
            i += 1
        else:
            role = value.role
            found.append(
                Mention(i, value.end, value.kind, value.facts, needs_noun=value.needs_noun, is_surname=value.is_surname)
            )
            i = value.end
    taken = {i for mention in found for i in range(mention.start, mention.end)}
    found += [
        Mention(span.start, span.end, "year", span.facts, span.where, cue=span.cue, is_open=span.is_open)
        for span in year_spans(sentence)
        if taken.isdisjoint(range(span.start, span.end))
    ]
    return sorted(found, key=lambda mention: mention.start)


def _distinct(mentions: Sequence[Mention]) -> list[Mention]:
    """Return mentions without those that repeat an earlier one; an exclusion may name what another one names."""
    unique = {(m.facts, m.where, m.start if m.is_excluded else None): m for m in reversed(mentions)}
    return sorted(unique.values(), key=lambda mention: mention.start)


def _conditions(
    mentions: Sequence[Mention], single_value_columns: Collection[str], lists: Collection[str]
) -> tuple[str, ...]:
    """Return the conditions of mentions, all of which an item has to satisfy.

    The mentions that are not excluded make sides, joined by OR, of groups, joined by AND, of mentions, joined by OR.
    """
    sides: list[list[list[Mention]]] = [[]]
    for before, mention in zip([None, *mentions], mentions, strict=False):
        if mention.is_excluded:
            continue
        groups = sides[-1]
        is_either = before is not None and not before.is_excluded and mention.link == "or"
        if is_either and before is not None and before.kind != mention.kind:
            sides.append([[mention]])
        elif is_either and groups:
            groups[-1].append(mention)
        else:
            _add_to_groups(groups, mention, single_value_columns)
    excluded = _exclusions(mentions, lists)
    if len(sides) == 1:
        return (*(_any_of(group) for group in sides[0]), *excluded)
    return (_joined_by_or([" AND ".join(_any_of(group) for group in side) for side in sides]), *excluded)


def _add_to_groups(groups: list[list[Mention]], mention: Mention, single_value_columns: Collection[str]) -> None:
    """Add a mention to the group of its column if an item usually has one of them, else as a group of its own."""
    columns = {fact.column for fact in mention.facts} or {DECADE}
    for group in groups:
        others = {fact.column for other in group for fact in other.facts} or {DECADE}
        is_open = mention.is_open or any(other.is_open for other in group)
        if mention.kind == group[0].kind and columns | others <= {*single_value_columns, DECADE} and not is_open:
            group.append(mention)
            return
    groups.append([mention])


def _any_of(group: Sequence[Mention]) -> str:
    """Return the condition that an item has any fact, or satisfies any condition on years, of these mentions."""
    conditions: list[str] = []
    for mention in group:
        if mention.where:
            conditions.append(mention.where)
        else:
            conditions += [facts_condition([fact]) for fact in mention.facts]
    return _joined_by_or(conditions)


def _joined_by_or(conditions: Sequence[str]) -> str:
    text = " OR ".join(dict.fromkeys(conditions))
    return f"({text})" if len(set(conditions)) > 1 else text


def _exclusions(mentions: Sequence[Mention], lists: Collection[str]) -> list[str]:
    """Return a condition for each exclusion: one for "no horror", one for "no French or Italian horror"."""
    excluded = [mention for mention in mentions if mention.is_excluded]
    conditions = []
    for groups in _exclusion_groups(excluded):
        text = " AND ".join(_any_of(group) for group in groups)
        named = [mention for group in groups for mention in group]
        has_years = any(mention.where for mention in named)
        has_single_values = any(fact.column not in lists for mention in named for fact in mention.facts)
        if has_years or has_single_values:  # these can be NULL, which is neither true nor false
            conditions.append(f"NOT ifnull({text}, 0)")
        elif len(groups) == 1 and text[0] == "(":
            conditions.append(f"NOT {text}")
        else:
            conditions.append(f"NOT ({text})")
    return list(dict.fromkeys(conditions))


def _exclusion_groups(excluded: Sequence[Mention]) -> list[list[list[Mention]]]:
    """Return what is excluded: items that have, of each group, any one.

    "No comedies or horror from France or Italy" is one exclusion of two groups. What has no other group beside it is
    excluded by itself: "no comedy or drama" are two exclusions.
    """
    found: list[list[list[Mention]]] = []
    for mention in excluded:
        if not found or mention.is_negated:
            found.append([[mention]])
        elif mention.link == "with":
            found[-1].append([mention])
        elif _sort_of(mention) == _sort_of(found[-1][-1][-1]):
            found[-1][-1].append(mention)
        else:
            found.append([[mention]])
    alone = [[[[mention]] for mention in groups[0]] if len(groups) == 1 else [groups] for groups in found]
    return [groups for several in alone for groups in several]


def _sort_of(mention: Mention) -> str:
    """Return the kind of a mention; "French" may be a language where "British" is a country."""
    return "place" if mention.kind == "language" else mention.kind


def _remaining_text(sentence: Sentence, mentions: Sequence[Mention]) -> str:
    """Return the text of a sentence without its mentions and the words that only connect them; empty without any."""
    starts = [0, *(mention.end for mention in mentions)]
    ends = [*(mention.start for mention in mentions), len(sentence)]
    return ", ".join(filter(None, (_own_words(sentence, start, end) for start, end in zip(starts, ends, strict=True))))


def _own_words(sentence: Sentence, start: int, end: int) -> str:
    """Return the text between two mentions without connecting words; empty if it is made of fillers."""
    while start < end and sentence.key(start) in _LEADING | ITEM_NOUNS:
        start += 1
    while start < end < len(sentence) and sentence.key(end - 1) in _TRAILING:
        end -= 1
    if all(sentence.key(i) in FILLERS | ITEM_NOUNS for i in range(start, end)):
        return ""
    return sentence.text[sentence.words[start].start : sentence.words[end - 1].end]
