"""A sentence to a condition: which facts of the catalog it names, and what is left for the model.

Words are matched with the catalog's own values, longest first: by their spelling (case, accents, plurals and initials
do not count), by what people call a country, a language or a genre (`intent_words.py`), and with one typing error in
names of eight letters and more. A surname alone counts if it belongs to one well-known person. Years are read by
`intent_years.py`; `intent_grammar.py` decides whether an ordinary word means a fact where it stands.

Facts are joined by AND: "comedy, drama" and "comedy and drama" are items that are both. Values of a column that usually
holds one (countries, languages, directors) and decades are joined by OR, as is everything with "or" between: facts of
one kind closely, others with all that stands on their side ("French comedy or Italian drama"). A value in several
columns means any of them, unless "by" asks for who made an item or "with" for who is in it. "no", "not", "without",
"nothing with", "anything but" exclude; items about which the catalog says nothing are not excluded.

How often that is right, for the films that come with the package (`figures` in `tests/test_intents.py`, seed 7):

                               n   facts  recall  precision  none found
    facts alone             1500    4493   0.994      1.000       0.000
    in a sentence           1500    3149   1.000      1.000       0.000
    in small letters        1500    3149   0.997      1.000       0.000
    in unseen sentences     1500    3098   0.716      1.000       0.081
    a name with an error    1500    1500   0.932      0.992       0.061
    vague                    161       0       -          -       0.988
    titles                  1500       0       -          -       0.973

"Unseen" sentences were written after the reader was finished; the others are what it was made for. Vague sentences and
titles name no fact; of the titles that are read as facts, many hold the name of a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.catalog.facts import DECADE, facts_condition, facts_text
from genrec_edge.intents.grammar import Mention, confirmed
from genrec_edge.intents.lexicon import ARTICLES, CONJUNCTIONS, DEFINITE, FILLERS, NEGATIONS, NOUNS, Sentence, word_set
from genrec_edge.intents.value_matcher import ValueNames
from genrec_edge.intents.years import year_spans
from genrec_edge.records import Reading

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from genrec_edge.catalog.facts import CatalogFacts

_MAX_MENTIONS = 20
"""What is named after them stays with the words that are left."""
_USUALLY_ONE = 1.5
"""Values per item that has one; a column with fewer usually holds one."""
_LEADING = ARTICLES | CONJUNCTIONS | {"the", "but"}
_TRAILING = (
    ARTICLES
    | CONJUNCTIONS
    | DEFINITE
    | NEGATIONS
    | word_set("but with from in by of starring featuring directed made during than apart other anything set")
)


def intent_text(reading: Reading | None) -> str | None:
    """Return what a model is told of an intention: the facts in the catalog's spelling, then the rest; None if nothing.

    >>> from genrec_edge.records import Fact
    >>> told(Reading("x", (Fact("genres", "Comedy"), Fact("decade", "1990s")), (), "with dogs"))
    'Comedy, 1990s; with dogs'
    """
    if reading is None:
        return None
    return "; ".join(filter(None, [facts_text(reading.facts), reading.rest])) or None


class IntentParser:
    """Reads sentences over the facts of one catalog; its values are read once, and again after it was changed.

    May be shared between threads.
    """

    def __init__(self, book: CatalogFacts) -> None:
        self._book = book
        self._known: tuple[str, ValueNames, frozenset[str]] | None = None

    def parse(self, sentence: str) -> Reading:
        """Return what a sentence names; any text is allowed. It has no parts where it names nothing.

        At most 2,000 characters are read. A decade is a fact, other years are conditions only.
        """
        names, single = self._names()
        words = Sentence(sentence)
        mentions = _distinct(confirmed(words, _candidates(words, names)))[:_MAX_MENTIONS]
        wanted = dict.fromkeys(m.facts[0] for m in mentions if m.facts and not m.is_excluded)
        parts = _parts(mentions, single, self._book.catalog.list_columns)
        return Reading(sentence, tuple(wanted), parts, _rest(words, mentions) if mentions else words.text)

    def _names(self) -> tuple[ValueNames, frozenset[str]]:
        """Return the spellings of all values, and the columns that usually hold one."""
        revision = self._book.catalog.revision
        known = self._known
        if known is None or known[0] != revision:
            single = frozenset(column for column in self._book.columns if self._usually_holds_one(column))
            known = self._known = (revision, ValueNames(self._book), single)
        return known[1], known[2]

    def _usually_holds_one(self, column: str) -> bool:
        catalog = self._book.catalog
        if column not in catalog.list_columns:
            return True
        query = "SELECT count(*), count(DISTINCT item) FROM item_values WHERE field = ?"
        ((n_values, n_items),) = catalog.query(query, [column])
        return bool(n_values < _USUALLY_ONE * n_items)


def _candidates(sentence: Sentence, names: ValueNames) -> list[Mention]:
    """Return what the words may mean, from left to right; names before years where they overlap."""
    found: list[Mention] = []
    at, role = 0, ""
    while at < len(sentence):
        named = names.at(sentence, at, role)
        if named is not None or sentence.key(at) not in CONJUNCTIONS:
            role = named.role if named is not None else ""
        if named is not None:
            found.append(
                Mention(
                    at, named.end, named.kind, named.facts, needs_noun=named.needs_noun, is_surname=named.is_surname
                )
            )
        at = at + 1 if named is None else named.end
    taken = {i for mention in found for i in range(mention.start, mention.end)}
    found += [
        Mention(span.start, span.end, "year", span.facts, span.where, cue=span.cue, is_open=span.is_open)
        for span in year_spans(sentence)
        if taken.isdisjoint(range(span.start, span.end))
    ]
    return sorted(found, key=lambda mention: mention.start)


def _distinct(mentions: Sequence[Mention]) -> list[Mention]:
    """Return mentions without those that say again what one before has said."""
    unique = {(m.facts, m.where, m.is_excluded): m for m in reversed(mentions)}
    return sorted(unique.values(), key=lambda mention: mention.start)


def _parts(mentions: Sequence[Mention], single: Collection[str], lists: Collection[str]) -> tuple[str, ...]:
    """Return the conditions that mentions make, all of which are to hold."""
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
            _join(groups, mention, single)
    excluded = _excluded(mentions, lists)
    if len(sides) == 1:
        return (*(_any(group) for group in sides[0]), *excluded)
    return (_either([" AND ".join(_any(group) for group in side) for side in sides]), *excluded)


def _join(groups: list[list[Mention]], mention: Mention, single: Collection[str]) -> None:
    """Put a mention to those of its column if only one of them can hold at a time, else into a group of its own."""
    columns = {fact.column for fact in mention.facts} or {DECADE}
    for group in groups:
        others = {fact.column for other in group for fact in other.facts} or {DECADE}
        is_open = mention.is_open or any(other.is_open for other in group)
        if mention.kind == group[0].kind and columns | others <= {*single, DECADE} and not is_open:
            group.append(mention)
            return
    groups.append([mention])


def _any(group: Sequence[Mention]) -> str:
    return _either(
        [where for m in group for where in ([m.where] if m.where else [facts_condition([f]) for f in m.facts])]
    )


def _either(conditions: Sequence[str]) -> str:
    text = " OR ".join(dict.fromkeys(conditions))
    return f"({text})" if len(set(conditions)) > 1 else text


def _excluded(mentions: Sequence[Mention], lists: Collection[str]) -> list[str]:
    """Return the conditions that nothing excluded holds, one for "no horror", one for "no French horror"."""
    groups: list[list[Mention]] = []
    for mention in mentions:
        if mention.is_excluded and mention.link == "with" and groups:
            groups[-1].append(mention)
        elif mention.is_excluded:
            groups.append([mention])
    texts = []
    for group in groups:
        text = " AND ".join(_any([mention]) for mention in group)
        knows_all = all(fact.column in lists for m in group for fact in m.facts) and not any(m.where for m in group)
        inner = text if len(group) == 1 and text[0] == "(" else f"({text})"
        texts.append(f"NOT {inner}" if knows_all else f"NOT ifnull({text}, 0)")
    return texts


def _rest(sentence: Sentence, mentions: Sequence[Mention]) -> str:
    """Return what is left of a sentence, without what only joined the facts to it; empty if it is nothing but that."""
    starts = [0, *(mention.end for mention in mentions)]
    ends = [*(mention.start for mention in mentions), len(sentence)]
    return ", ".join(filter(None, (_left(sentence, start, end) for start, end in zip(starts, ends, strict=True))))


def _left(sentence: Sentence, start: int, end: int) -> str:
    """Return what words between two facts say of their own."""
    while start < end and sentence.key(start) in _LEADING | NOUNS:
        start += 1
    while start < end < len(sentence) and sentence.key(end - 1) in _TRAILING:
        end -= 1
    if all(sentence.key(i) in FILLERS | NOUNS for i in range(start, end)):
        return ""
    return sentence.text[sentence.words[start].start : sentence.words[end - 1].end]
