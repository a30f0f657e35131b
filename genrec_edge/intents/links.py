"""The words between two mentions of facts: conjunctions that join them, and negations that exclude the second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.intents.lexicon import (
    ARTICLES,
    CONJUNCTIONS,
    CONNECTING_WORDS,
    CREATOR_CUES,
    DETERMINERS,
    ITEM_NOUNS,
    NEGATIONS,
    PERFORMER_CUES,
    word_set,
)

if TYPE_CHECKING:
    from genrec_edge.intents.lexicon import Sentence

MAX_WORDS_BACK = 4
"""How far before a fact a negation or a comparison is looked for."""
_AFTER_NEGATION = (
    ARTICLES
    | DETERMINERS
    | ITEM_NOUNS
    | CREATOR_CUES
    | PERFORMER_CUES
    | word_set("from in of for like want to see watch too much made")
)
"""Words between a negation and what it excludes."""


def link_between(sentence: Sentence, end: int, start: int) -> str:
    """Return how a mention that starts at `start` is joined to one that ends at `end`; see `Mention.link`."""
    between = [word.key for word in sentence.words[end:start]]
    is_one_phrase = all(word.gap not in {",", ":"} for word in sentence.words[end : start + 1])
    if is_one_phrase and not (CONJUNCTIONS | NEGATIONS) & set(between):
        return "with" if all(word in CONNECTING_WORDS | ITEM_NOUNS for word in between) else ""
    if any(word not in CONNECTING_WORDS | ITEM_NOUNS | CONJUNCTIONS | NEGATIONS for word in between):
        return ""
    return "or" if {"or", "nor"} & set(between) else "and"


def is_excluded(sentence: Sentence, end: int, start: int) -> bool | None:
    """Whether a negation between words `end` and `start` excludes what starts there; None if that is unclear."""
    if _has_minus_sign(sentence, start):
        return True
    i = start
    n_others = 0
    while i > end and n_others < MAX_WORDS_BACK:
        word, before = sentence.before(i), sentence.before(i - 1)
        if not word:
            return False
        if word == "but" or (word in {"than", "from"} and before in {"other", "apart"}):
            return word != "but" or before in {"anything", "everything", "all"}
        if word in NEGATIONS or (word == "of" and before in {"tired", "sick", "bored", "enough"}):
            return None if n_others else True
        if word not in _AFTER_NEGATION:
            n_others += 1
        i -= 1
    return False


def _has_minus_sign(sentence: Sentence, start: int) -> bool:
    """Whether a word is written as search engines exclude one: "comedy -romance"."""
    before = sentence.text[: sentence.words[start].start]
    return before == "-" or before.endswith(" -")
