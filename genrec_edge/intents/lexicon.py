"""English words around the facts of a sentence, and the sentence cut into words. Knows nothing of catalogs.

The tables are short on purpose: they have only what does not follow from the values of a catalog.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from genrec_edge.catalog import titles

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CHARACTERS = 2_000
"""Of a sentence; the rest is not read."""


def word_set(words: str) -> frozenset[str]:
    """Return the words of a table, written with spaces between."""
    return frozenset(words.split())


ITEM_NOUNS = word_set(
    "film films movie movies picture pictures flick flicks show shows series story stories tale tales cinema feature "
    "features genre classic classics production productions title titles one ones book books novel novels album albums "
    "song songs game games"
)
"""What the items of a catalog are called: "a French one"."""
ARTICLES = word_set("a an some any another more")
DETERMINERS = word_set("the my our your his her their its this that these those")
CONJUNCTIONS = word_set("and or nor plus")
CREATOR_CUES = word_set("by directed written director author artist writer creator composer")
PERFORMER_CUES = word_set("with starring featuring stars star cast actor actress")
NEGATIONS = word_set(
    "no not non without nothing none never except exclude excludes excluding minus skip outside hate avoid dislike "
    "neither nor dont doesnt didnt isnt arent wasnt werent wont cant"
)
PHRASE_OPENERS = word_set(
    "about with without from in by for that which where who whose like set starring featuring directed made released "
    "before after since between during but not no nothing except excluding minus outside only please tonight today now "
    "on if when because"
)
"""What may follow a noun phrase; any other word makes a value of the catalog a part of another phrase."""
PREPOSITIONS = word_set("of about for with in to at on during after before against over into as through across around")
REQUEST_WORDS = word_set(
    "look looking mood up search searching ask asking hunt craving kind kinds sort sorts type bit lot lots mix mixture "
    "blend touch plenty fan"
)
"""Before "for" or "of" they request what follows: "in the mood for comedy", "a bit of romance"."""
PRODUCTION_WORDS = word_set("made released produced shot filmed something anything came out")
SETTING_WORDS = word_set(
    "set place plays playing happens happening lives living lived life about visit speak speaks learn"
)
"""Before a place, a year or a language they say what an item is about, not where, when or in what it was made."""
FILLERS = word_set(
    "i we me us you he she they it is are was be am id im ill lets let want wants wanted would like love need feel see "
    "watch find show give recommend suggest looking look for to in mood something anything everything nothing please "
    "tonight today now really just only maybe perhaps preferably ideally good nice great best but also and or nor of "
    "all other than apart from on at by with starring featuring directed made released the a an some any another more "
    "do have can could should kind sort type lot lots bit that which my your not no non without never except dont too "
    "much so if"
)
"""Words that have no content without the facts around them."""
CONNECTING_WORDS = ARTICLES | DETERMINERS | CREATOR_CUES | PERFORMER_CUES | word_set("from in of made maybe something")
"""Words that may stand between two facts, or between a conjunction and a fact."""

SYNONYMS: Mapping[str, str] = {
    "science fiction": "sci fi",
    "scifi": "sci fi",
    "sci fi": "science fiction",
    "biopic": "biography",
    "biopics": "biography",
    "cartoon": "animation",
    "cartoons": "animation",
}
"""Other nouns for a value, compared as keys."""
ADJECTIVES: Mapping[str, str] = {
    "romantic": "romance",
    "animated": "animation",
    "historical": "history",
    "biographical": "biography",
    "comedic": "comedy",
    "dramatic": "drama",
}
"""They name a value only before a noun for items: "a romantic film", but not "a romantic evening"."""
NATIONALITIES: Mapping[str, tuple[str, ...]] = {
    "french": ("France",),
    "german": ("Germany", "West Germany"),
    "italian": ("Italy",),
    "spanish": ("Spain",),
    "japanese": ("Japan",),
    "korean": ("South Korea",),
    "chinese": ("Mandarin", "Cantonese", "China", "People's Republic of China"),
    "russian": ("Russia", "Soviet Union"),
    "indian": ("Hindi", "India"),
    "swedish": ("Sweden",),
    "danish": ("Denmark",),
    "norwegian": ("Norway",),
    "dutch": ("Netherlands",),
    "polish": ("Poland",),
    "portuguese": ("Portugal",),
    "brazilian": ("Brazil",),
    "mexican": ("Mexico",),
    "canadian": ("Canada",),
    "australian": ("Australia",),
    "austrian": ("Austria",),
    "swiss": ("Switzerland",),
    "belgian": ("Belgium",),
    "irish": ("Ireland",),
    "israeli": ("Israel",),
    "iranian": ("Iran",),
    "cuban": ("Cuba",),
    "argentinian": ("Argentina",),
    "argentine": ("Argentina",),
    "american": ("United States",),
    "british": ("United Kingdom",),
    "england": ("United Kingdom",),
    "czech": ("Czech Republic", "Czechoslovakia"),
    "hungarian": ("Hungary",),
    "romanian": ("Romania",),
    "bulgarian": ("Bulgaria",),
    "greek": ("Greece",),
    "turkish": ("Turkey",),
    "finnish": ("Finland",),
    "icelandic": ("Iceland",),
    "thai": ("Thailand",),
    "vietnamese": ("Vietnam",),
    "indonesian": ("Indonesia",),
    "taiwanese": ("Taiwan",),
    "filipino": ("Philippines",),
    "egyptian": ("Egypt",),
    "moroccan": ("Morocco",),
    "south african": ("South Africa",),
    "chilean": ("Chile",),
    "colombian": ("Colombia",),
    "peruvian": ("Peru",),
    "venezuelan": ("Venezuela",),
    "palestinian": ("Palestine",),
    "lebanese": ("Lebanon",),
    "ukrainian": ("Ukraine",),
    "serbian": ("Serbia",),
    "croatian": ("Croatia",),
    "yugoslav": ("Yugoslavia",),
    "yugoslavian": ("Yugoslavia",),
    "czechoslovak": ("Czechoslovakia",),
    "soviet": ("Soviet Union",),
    "estonian": ("Estonia",),
    "senegalese": ("Senegal",),
    "pakistani": ("Pakistan",),
    "nigerian": ("Nigeria",),
}
"""Countries and languages in everyday words; only values that the catalog has are used."""
COUNTRY_NAMES = (
    ("United States", "USA", "US", "U.S.", "U.S.A.", "United States of America", "America", "the States"),
    ("United Kingdom", "UK", "U.K.", "GB", "Great Britain", "Britain"),
    ("Soviet Union", "USSR", "U.S.S.R."),
    ("United Arab Emirates", "UAE", "U.A.E."),
    ("People's Republic of China", "China", "PRC"),
    ("South Korea", "Republic of Korea", "Korea"),
    ("Czech Republic", "Czechia"),
    ("Netherlands", "The Netherlands", "Holland"),
    ("New Zealand", "NZ"),
    ("Russia", "Russian Federation"),
    ("Turkey", "T\u00fcrkiye"),
    ("Ivory Coast", "C\u00f4te d'Ivoire"),
    ("Democratic Republic of the Congo", "DR Congo", "DRC"),
)
"""Names and abbreviations of the same country: a sentence may use another than the catalog."""

_WORD = re.compile(r"&|[^\W_]+(?:['\u2019][^\W_]+)*")
_GENITIVE = re.compile(r"(?<=[^\W\d_])['\u2019]s$", re.IGNORECASE)
_PHRASE_END = re.compile(r"[,;.!?()\[\]{}/\"\u201c\u201d|+]|\s[-\u2013\u2014]+\s|\u2014")
_DASH = re.compile(r"\s*[-\u2010-\u2013]\s*")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a sentence: `key` compares it, `start` and `end` are its characters.

    `gap` is what separates it from the word before: "" the beginning, " " white space alone, "-" a dash, "," the end of
    a phrase, ":" anything else.
    """

    key: str
    start: int
    end: int
    gap: str
    is_capital: bool


class Sentence:
    """A text and its words. Beyond its ends all words are empty."""

    def __init__(self, text: str) -> None:
        self.text = " ".join(titles.printable(text[:MAX_CHARACTERS]).split())
        self.words = words_of(self.text)

    def __len__(self) -> int:
        return len(self.words)

    def key(self, i: int) -> str:
        """Return the key of word `i`, empty beyond the ends."""
        return self.words[i].key if 0 <= i < len(self.words) else ""

    def before(self, i: int) -> str:
        """Return the key of the word before word `i` in the same phrase, empty where the phrase begins."""
        if i <= 0 or i > len(self):
            return ""
        begins_phrase = i < len(self) and self.words[i].gap in {",", ":"}
        return "" if begins_phrase else self.key(i - 1)

    def ends_at(self, i: int) -> bool:
        """Whether a phrase ends before word `i`."""
        return i >= len(self) or self.words[i].gap == ","

    def keys(self, start: int, end: int) -> str:
        """Return the keys of words, joined by spaces."""
        return " ".join(word.key for word in self.words[start:end])


def words_of(text: str) -> tuple[Word, ...]:
    """Return the words of a text; "&" is a word, a genitive s is not.

    >>> [word.key for word in words_of("Mo'Nique & Amélie's sci-fi")]
    ['monique', 'and', 'amelie', 'sci', 'fi']
    """
    words: list[Word] = []
    end = 0
    for match in _WORD.finditer(text):
        key = _word_key(match[0])
        if key:
            gap = _gap(text[end : match.start()], len(words[-1].key)) if words else ""
            words.append(Word(key, match.start(), match.end(), gap, match[0][0].isupper()))
            end = match.end()
    return tuple(words)


def key_of(text: str) -> str:
    """Return the keys of all words of a value, joined by spaces."""
    return " ".join(_word_key(word) for word in _WORD.findall(text))


def _gap(text: str, n_letters_before: int) -> str:
    if text.isspace() or (n_letters_before == 1 and text.strip() in {".", ""}):
        return " "  # a full stop after an initial does not end a phrase
    if text.strip() in {"'", "\u2019"}:
        return "," if text[-1].isspace() else " "  # the end of a quotation; "the '90s"
    if _PHRASE_END.search(text):
        return ","
    return "-" if _DASH.fullmatch(text) else ":"


@lru_cache(maxsize=1 << 16)
def _word_key(word: str) -> str:
    return "and" if word == "&" else titles.key(_GENITIVE.sub("", word))
