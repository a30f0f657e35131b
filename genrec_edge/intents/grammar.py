"""Whether words that may name a fact do name it in their sentence, and whether the fact is wanted or excluded.

"Family" is a genre in "a family film" and in "family, comedy", but not in "a family evening" or "for my family". A
value that is also an ordinary word counts if the phrase ends after it, or if a noun for items, another fact or a new
phrase follows, and if no preposition or possessive before it gives it another meaning.

Keywords are nouns such as "wedding" or "island", and not every item that has one is marked. They count before a noun
("zombie comedy", "a Christmas film"), after "about" ("films about dinosaurs"), and where they are the whole phrase.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from genrec_edge.intents.lexicon import (
    ARTICLES,
    CONJUNCTIONS,
    CONNECTING_WORDS,
    CREATOR_CUES,
    DETERMINERS,
    FILLERS,
    ITEM_NOUNS,
    NEGATIONS,
    PERFORMER_CUES,
    PHRASE_OPENERS,
    PREPOSITIONS,
    PRODUCTION_WORDS,
    REQUEST_WORDS,
    SETTING_WORDS,
    word_set,
)
from genrec_edge.intents.links import MAX_WORDS_BACK, is_excluded, link_between

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genrec_edge.intents.lexicon import Sentence
    from genrec_edge.records import Fact

MentionKind = Literal["topic", "theme", "place", "language", "person", "year"]

_MAX_WORDS_BEFORE_NOUN = 2
"""Between a fact and its noun: "a French love story"."""
_AFTER_A_WISH = word_set("please tonight today now")
_BEFORE_VERB_LIKE = word_set("i we you they would d do really also to not dont id")
"""After these words "like" is a verb; elsewhere it compares with a title."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Words `start` to `end` (exclusive) that name any one of `facts`, or state the condition `where` on years.

    Attributes:
        needs_noun: the words name a fact only before a noun for items.
        cue: the preposition before a single year, None where the words can only be a condition.
        is_open: whether a condition on years has one bound only.
        is_surname: the words are a surname alone.
        is_negated: a negation stands right before, so that an exclusion begins here.
        link: how the mention is joined to the one before: "or", "and", "with" if there is no conjunction between them,
            "" if other words are between them or it is the first.
    """

    start: int
    end: int
    kind: MentionKind
    facts: tuple[Fact, ...]
    where: str = ""
    needs_noun: bool = False
    cue: str | None = None
    is_open: bool = False
    is_surname: bool = False
    is_excluded: bool = False
    is_negated: bool = False
    link: str = ""


def confirm_mentions(sentence: Sentence, candidates: Sequence[Mention]) -> list[Mention]:
    """Return the mentions that name facts, with their links, left to right; unclear exclusions are left out."""
    kept = _kept(sentence, [*reversed(candidates)])
    kept = _kept(sentence, kept)  # again, without those that depended on a mention that was not kept
    found: list[Mention] = []
    for confirmed in reversed(kept):
        mention = replace(confirmed, start=_about(sentence, confirmed))
        end = found[-1].end if found else 0
        link = link_between(sentence, end, mention.start) if found else ""
        negated = excluded = is_excluded(sentence, end, mention.start)
        if excluded is False and found and found[-1].is_excluded and not _is_a_prefix(sentence, found[-1].start, link):
            excluded = link in {"or", "with"} or (link == "and" and sentence.before(mention.start) in CONJUNCTIONS)
        if excluded is not None:
            found.append(replace(mention, link=link, is_excluded=excluded, is_negated=bool(negated)))
    return found


def _is_a_prefix(sentence: Sentence, start: int, link: str) -> bool:
    """Whether a negation excludes one fact of a phrase: "non-US horror" is horror, where "no US horror" is none."""
    return link == "with" and sentence.before(start) == "non"


def _kept(sentence: Sentence, mentions: Sequence[Mention]) -> list[Mention]:
    """Return the mentions that name facts, both from right to left; each may depend on those around it."""
    ends = frozenset(mention.end for mention in mentions)
    kept: dict[int, Mention] = {}
    for mention in mentions:
        if not _is_comparison(sentence, mention.start) and _is_confirmed(sentence, mention, kept, ends):
            kept[mention.start] = mention
    return list(kept.values())


def _is_confirmed(sentence: Sentence, mention: Mention, kept: Mapping[int, Mention], ends: frozenset[int]) -> bool:
    before = _governing_word(sentence, mention.start)
    if mention.kind == "person":
        return (
            before != "about"
            and not _is_part_of_a_name(sentence, mention)
            and _is_named_as_person(sentence, mention, kept)
        )
    if mention.kind == "year" and mention.cue is None:
        return before not in SETTING_WORDS
    if mention.kind == "theme":
        return _is_theme(sentence, mention, kept, ends)
    has_noun = _has_noun(sentence, mention.end, kept) or _shares_noun(sentence, mention, kept)
    if not has_noun and (mention.needs_noun or not _ends_its_phrase(sentence, mention.end, kept)):
        return False
    if mention.kind == "year":
        return _is_production_year(sentence, mention, ends)
    return _is_term(sentence, mention, ends, has_noun=has_noun)


def _is_term(sentence: Sentence, mention: Mention, ends: frozenset[int], *, has_noun: bool) -> bool:
    """Whether the words before a genre, a country or a language allow that meaning."""
    if has_noun:
        return sentence.before(mention.start) not in SETTING_WORDS
    if mention.kind == "language" and sentence.before(mention.start) == "in":
        return True
    if mention.kind in {"place", "language"} and not _is_name(sentence, mention, ends):
        return False
    return _is_independent(sentence, mention.start, ends, is_place=mention.kind == "place")


def _is_theme(sentence: Sentence, mention: Mention, kept: Mapping[int, Mention], ends: frozenset[int]) -> bool:
    """Whether a keyword says what items are about: it stands before a noun, after "films about", or alone."""
    if _has_noun(sentence, mention.end, kept):
        return sentence.before(mention.start) not in SETTING_WORDS
    if not (sentence.ends_at(mention.end) or mention.end in kept or sentence.key(mention.end) in _AFTER_A_WISH):
        return False
    if not sentence.before(mention.start) or sentence.before(mention.start) in NEGATIONS:
        return True
    about = _about(sentence, mention)
    return about < mention.start and (sentence.before(about) in ITEM_NOUNS or about in ends)


def _about(sentence: Sentence, mention: Mention) -> int:
    """Return where "about the" before a keyword starts, which belongs to it; else where the mention does."""
    i = mention.start
    while sentence.before(i) in ARTICLES | {"the"}:
        i -= 1
    return i - 1 if mention.kind == "theme" and sentence.before(i) == "about" else mention.start


def _is_named_as_person(sentence: Sentence, mention: Mention, kept: Mapping[int, Mention]) -> bool:
    """Whether a name asks for a person; a full name always does."""
    if not mention.is_surname or sentence.before(mention.start) in CREATOR_CUES | PERFORMER_CUES:
        return True
    is_alone = not sentence.before(mention.start) or sentence.before(mention.start) in FILLERS
    return is_alone and (sentence.ends_at(mention.end) or _has_noun(sentence, mention.end, kept))


def _governing_word(sentence: Sentence, start: int) -> str:
    """Return the word before a phrase, its articles and its "in" or "during"; "" at the beginning."""
    i = start
    while sentence.before(i) in ARTICLES | {"the", "in", "during"}:
        i -= 1
    return sentence.before(i) or sentence.before(start)


def _has_noun(sentence: Sentence, end: int, kept: Mapping[int, Mention]) -> bool:
    """Whether a noun for items, or a genre, follows, perhaps after other facts."""
    for i in range(end, min(end + _MAX_WORDS_BEFORE_NOUN + 1, len(sentence))):
        if sentence.words[i].gap in {",", ":"}:
            return False
        if sentence.key(i) in ITEM_NOUNS or (i in kept and kept[i].kind == "topic"):
            return True
        if i in kept:
            return _has_noun(sentence, kept[i].end, kept)
        if sentence.key(i) in PHRASE_OPENERS | CONJUNCTIONS | ARTICLES | DETERMINERS | PREPOSITIONS:
            return False
    return False


def _shares_noun(sentence: Sentence, mention: Mention, kept: Mapping[int, Mention]) -> bool:
    """Whether a country or a language is joined to one with a noun: "french or italian comedies"."""
    other = kept.get(mention.end + 1)
    if other is None or sentence.key(mention.end) not in CONJUNCTIONS or sentence.ends_at(mention.end):
        return False
    return {mention.kind, other.kind} <= {"place", "language"} and _has_noun(sentence, other.end, kept)


def _ends_its_phrase(sentence: Sentence, end: int, kept: Mapping[int, Mention]) -> bool:
    """Whether the phrase may end before word `end`."""
    if sentence.ends_at(end) or end in kept:
        return True
    if sentence.words[end].gap == ":":
        return False
    if sentence.key(end) in CONJUNCTIONS:
        i = end + 1
        while sentence.key(i) in CONNECTING_WORDS:
            i += 1
        return i in kept or sentence.key(i) in ITEM_NOUNS | NEGATIONS
    return sentence.key(end) in PHRASE_OPENERS or (sentence.key(end) == "of" and end + 1 in kept)


def _is_independent(sentence: Sentence, start: int, ends: frozenset[int], *, is_place: bool = False) -> bool:
    """Whether no word before a noun gives it another meaning: "the war", "about family", "love and war"."""
    if sentence.before(start) in DETERMINERS and not is_place:
        return False
    i = start
    while sentence.before(i) in ARTICLES | ({"the"} if is_place else frozenset()):
        i -= 1
    word, at = sentence.before(i), i - 1
    if is_place and word in {"from", "in", "by"}:
        return word == "from" or sentence.before(at) in PRODUCTION_WORDS - {"something", "anything"}
    if word in PREPOSITIONS:
        return sentence.before(at) in REQUEST_WORDS or sentence.before(at) in NEGATIONS
    if word in SETTING_WORDS:
        return False
    if word in CONJUNCTIONS:
        return at in ends or sentence.before(at) in FILLERS | ITEM_NOUNS | {""}
    return True


def _is_name(sentence: Sentence, mention: Mention, ends: frozenset[int]) -> bool:
    """Whether a country or a language is written with a capital, or stands where a request has one."""
    if sentence.words[mention.start].is_capital or mention.end - mention.start > 1:
        return True
    word = sentence.before(mention.start)
    if word == "the":
        word = sentence.before(mention.start - 1)
    if word in CONJUNCTIONS or sentence.words[mention.start].gap == ",":
        return mention.start - 1 in ends or mention.start in ends
    return word in {"from", "in"} or word in NEGATIONS or (not word and sentence.ends_at(mention.end))


def _is_production_year(sentence: Sentence, mention: Mention, ends: frozenset[int]) -> bool:
    """Whether a single year or decade says when items were made."""
    before = sentence.before(mention.start)
    if before in SETTING_WORDS or before in DETERMINERS:
        return False
    if mention.cue in {"in", "of", "during"}:
        return before in PRODUCTION_WORDS | ITEM_NOUNS or mention.start in ends
    if mention.cue:
        return True
    return not before or before in FILLERS | ARTICLES | CONJUNCTIONS | NEGATIONS | ITEM_NOUNS or mention.start in ends


def _is_comparison(sentence: Sentence, start: int) -> bool:
    """Whether a phrase is what items are compared with: a title after "like" or "similar to"."""
    for i in range(start, max(0, start - MAX_WORDS_BACK), -1):
        word = sentence.before(i)
        if word == "like":
            return sentence.key(i - 2) not in _BEFORE_VERB_LIKE and i > 1
        if not word or word in {"with", "by", "from", "but", "starring"}:
            return False
        if word == "to" and sentence.key(i - 2) == "similar":
            return True
    return False


def _is_part_of_a_name(sentence: Sentence, mention: Mention) -> bool:
    """Whether a capital after a name shows that the name is longer: "Tom Cruise Missile"."""
    if mention.end >= len(sentence) or not sentence.words[mention.start].is_capital:
        return False
    after = sentence.words[mention.end]
    is_other_word = after.key in ITEM_NOUNS | PHRASE_OPENERS | CONJUNCTIONS | FILLERS
    is_genitive = "'" in sentence.text[after.start - 2 : after.start]
    return after.gap == " " and after.is_capital and not is_other_word and not is_genitive
