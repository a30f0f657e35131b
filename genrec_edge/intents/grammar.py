"""Whether words that may name a fact do name it in their sentence, and whether it is wanted or excluded.

"Family" is a genre in "a family film" and in "family, comedy", but not in "a family evening" or "for my family". A
value that is an ordinary word too counts where the phrase ends after it, or a noun for the items, another fact or the
beginning of a new phrase follows, and where no preposition or possessive before it makes it something else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from genrec_edge.intents.lexicon import (
    ARTICLES,
    ASKED,
    CONJUNCTIONS,
    CREATED,
    DEFINITE,
    FILLERS,
    MADE,
    NEGATIONS,
    NOUNS,
    OPENERS,
    PERFORMED,
    PREPOSITIONS,
    SETTINGS,
    word_set,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genrec_edge.intents.lexicon import Sentence
    from genrec_edge.records import Fact

MentionKind = Literal["topic", "place", "language", "person", "year"]

_BRIDGE = 2
"""So many words may stand between a fact and its noun: "a French love story"."""
_REACH = 4
"""A negation so many words away makes it unclear what a fact is for."""
_BETWEEN = (
    ARTICLES | DEFINITE | NOUNS | CREATED | PERFORMED | word_set("from in of for like want to see watch too much")
)
"""Words between a negation and what it excludes."""
_LIKED = word_set("i we you they would d do really also to not dont id")
"""Before "like" they make it a verb; elsewhere it compares with a title."""
_MINOR = ARTICLES | DEFINITE | CREATED | PERFORMED | word_set("from in of made maybe something")


@dataclass(frozen=True, slots=True)
class Mention:
    """Words `start` to `end` (exclusive) that name any one of `facts`, or state a condition on years, `where`.

    `cue` is the preposition of a year that stands for itself, None where no doubt is left. `link` is how a mention is
    joined to the one before: "or", "and", "with" where no conjunction stands between, or "" where other words do.
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
    link: str = ""


def confirmed(sentence: Sentence, candidates: Sequence[Mention]) -> list[Mention]:
    """Return the mentions that hold, with their links, left to right; what may be excluded or not is left out."""
    kept: dict[int, Mention] = {}
    for _ in range(2):  # what holds because of the one before it holds only if that one does
        ends = frozenset(mention.end for mention in kept.values() or candidates)
        last, kept = [*kept.values()] or [*reversed(candidates)], {}
        for mention in last:
            if _holds(sentence, mention, kept, ends):
                kept[mention.start] = mention
    found: list[Mention] = []
    for mention in sorted(kept.values(), key=lambda m: m.start):
        end = found[-1].end if found else 0
        link = _link(sentence, end, mention.start) if found else ""
        excluded = _is_excluded(sentence, end, mention.start)
        if excluded is False and found and found[-1].is_excluded:
            excluded = link in {"or", "with"} or (link == "and" and sentence.before(mention.start) in CONJUNCTIONS)
        if excluded is not None:
            found.append(replace(mention, link=link, is_excluded=excluded))
    return found


def _holds(sentence: Sentence, mention: Mention, kept: Mapping[int, Mention], ends: frozenset[int]) -> bool:
    if _is_compared(sentence, mention.start):
        return False
    before = _before(sentence, mention.start)
    if mention.kind == "person":
        return before != "about" and not _is_part_of_a_name(sentence, mention) and _is_meant(sentence, mention, kept)
    if mention.kind == "year" and mention.cue is None:
        return before not in SETTINGS
    has_noun = _has_noun(sentence, mention.end, kept)
    if not has_noun and (mention.needs_noun or not _is_whole(sentence, mention.end, kept)):
        return False
    if mention.kind == "year":
        return _is_when_made(sentence, mention, ends)
    return _is_term(sentence, mention, ends, has_noun=has_noun)


def _is_term(sentence: Sentence, mention: Mention, ends: frozenset[int], *, has_noun: bool) -> bool:
    """Whether what stands before a genre, a country or a language leaves it one."""
    if has_noun:
        return sentence.before(mention.start) not in SETTINGS
    if mention.kind == "language" and sentence.before(mention.start) == "in":
        return True
    if mention.kind in {"place", "language"} and not _is_name(sentence, mention, ends):
        return False
    return _is_free(sentence, mention.start, ends, is_place=mention.kind == "place")


def _is_meant(sentence: Sentence, mention: Mention, kept: Mapping[int, Mention]) -> bool:
    """Whether a name stands where one asks for a person; a full name always does."""
    if not mention.is_surname or sentence.before(mention.start) in CREATED | PERFORMED:
        return True
    is_alone = not sentence.before(mention.start) or sentence.before(mention.start) in FILLERS
    return is_alone and (sentence.ends_at(mention.end) or _has_noun(sentence, mention.end, kept))


def _before(sentence: Sentence, start: int) -> str:
    """Return the word before a phrase and its articles and prepositions, "" where it begins."""
    i = start
    while sentence.before(i) in ARTICLES | {"the", "in", "during"}:
        i -= 1
    return sentence.before(i) or sentence.before(start)


def _has_noun(sentence: Sentence, end: int, kept: Mapping[int, Mention]) -> bool:
    """Whether a noun for items, or a fact that can be one, follows, perhaps after other adjectives."""
    for i in range(end, min(end + _BRIDGE + 1, len(sentence))):
        if sentence.words[i].gap in {",", ":"}:
            return False
        if sentence.key(i) in NOUNS or (i in kept and kept[i].kind == "topic"):
            return True
        if i in kept:
            return _has_noun(sentence, kept[i].end, kept)
        if sentence.key(i) in OPENERS | CONJUNCTIONS | ARTICLES | DEFINITE | PREPOSITIONS:
            return False
    return False


def _is_whole(sentence: Sentence, end: int, kept: Mapping[int, Mention]) -> bool:
    """Whether the phrase may end before word `end`."""
    if sentence.ends_at(end) or end in kept:
        return True
    if sentence.words[end].gap == ":":
        return False
    if sentence.key(end) in CONJUNCTIONS:
        i = end + 1
        while sentence.key(i) in _MINOR:
            i += 1
        return i in kept or sentence.key(i) in NOUNS | NEGATIONS
    return sentence.key(end) in OPENERS or (sentence.key(end) == "of" and end + 1 in kept)


def _is_free(sentence: Sentence, start: int, ends: frozenset[int], *, is_place: bool = False) -> bool:
    """Whether nothing before a noun makes it a part of something else: "the war", "about family", "love and war"."""
    if sentence.before(start) in DEFINITE and not is_place:
        return False
    i = start
    while sentence.before(i) in ARTICLES | ({"the"} if is_place else frozenset()):
        i -= 1
    word, at = sentence.before(i), i - 1
    if is_place and word in {"from", "in", "by"}:
        return word == "from" or sentence.before(at) in MADE - {"something", "anything"}
    if word in PREPOSITIONS:
        return sentence.before(at) in ASKED or sentence.before(at) in NEGATIONS
    if word in SETTINGS:
        return False
    if word in CONJUNCTIONS:
        return at in ends or sentence.before(at) in FILLERS | NOUNS | {""}
    return True


def _is_name(sentence: Sentence, mention: Mention, ends: frozenset[int]) -> bool:
    """Whether a country or language is written as one, or stands where one is asked for."""
    if sentence.words[mention.start].is_capital or mention.end - mention.start > 1:
        return True
    word = sentence.before(mention.start)
    if word in CONJUNCTIONS or sentence.words[mention.start].gap == ",":
        return mention.start - 1 in ends or mention.start in ends
    return word in {"from", "in"} or word in NEGATIONS or (not word and sentence.ends_at(mention.end))


def _is_when_made(sentence: Sentence, mention: Mention, ends: frozenset[int]) -> bool:
    """Whether a year or decade that stands for itself is when items were made."""
    before = sentence.before(mention.start)
    if before in SETTINGS or before in DEFINITE:
        return False
    if mention.cue in {"in", "of", "during"}:
        return before in MADE | NOUNS or mention.start in ends
    if mention.cue:
        return True
    return not before or before in FILLERS | ARTICLES | CONJUNCTIONS | NEGATIONS | NOUNS or mention.start in ends


def _is_compared(sentence: Sentence, start: int) -> bool:
    """Whether a phrase names what is to be similar: a title after "like" or "similar to"."""
    for i in range(start, max(0, start - _REACH), -1):
        word = sentence.before(i)
        if word == "like":
            return sentence.key(i - 2) not in _LIKED and i > 1
        if not word or word in {"with", "by", "from", "but", "starring"}:
            return False
        if word == "to" and sentence.key(i - 2) == "similar":
            return True
    return False


def _is_part_of_a_name(sentence: Sentence, mention: Mention) -> bool:
    """Whether capitals on both sides say that a name is longer than what was found: "Tom Cruise Missile"."""
    if mention.end >= len(sentence) or not sentence.words[mention.start].is_capital:
        return False
    after = sentence.words[mention.end]
    is_known = (
        after.key in NOUNS | OPENERS | CONJUNCTIONS | FILLERS or "'" in sentence.text[after.start - 2 : after.start]
    )
    return after.gap == " " and after.is_capital and not is_known


def _link(sentence: Sentence, end: int, start: int) -> str:
    """Return how two mentions are joined: "or", "and", or "" where other words stand between."""
    between = [word.key for word in sentence.words[end:start]]
    if all(word.gap not in {",", ":"} for word in sentence.words[end : start + 1]) and not (
        (CONJUNCTIONS | NEGATIONS) & set(between)
    ):
        return "with" if all(word in _MINOR | NOUNS for word in between) else ""
    if any(word not in _MINOR | NOUNS | CONJUNCTIONS | NEGATIONS for word in between):
        return ""
    return "or" if {"or", "nor"} & set(between) else "and"


def _is_excluded(sentence: Sentence, end: int, start: int) -> bool | None:
    """Whether a negation stands between words `end` and `start`; None if it is not clear what it means."""
    i, n_others = start, 0
    while i > end and n_others < _REACH and (word := sentence.before(i)):
        before = sentence.before(i - 1)
        if word == "but" or (word in {"than", "from"} and before in {"other", "apart"}):
            return word != "but" or before in {"anything", "everything", "all"}
        if word in NEGATIONS or (word == "of" and before in {"tired", "sick", "bored", "enough"}):
            return None if n_others else True
        n_others += word not in _BETWEEN
        i -= 1
    return False
