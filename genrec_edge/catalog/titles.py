"""One canonical spelling of a title, and the key under which spellings are compared.

Training, prompts, the title index and the catalog all use these functions, so that a title is the same text everywhere.
Knows nothing of catalogs, models or tokens.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TITLE_BYTES = 512
"""Longer titles are cut at a character boundary; the longest of 58,788 film titles has 121 bytes."""

_MAX_CHARACTERS = 4 * MAX_TITLE_BYTES

_ARTICLES = (
    # English, French, Italian, Spanish, Portuguese, German, Dutch, Scandinavian: catalogs put them last.
    "The|A|An|Le|La|Les|L'|Un|Une|Il|Lo|I|Gli|Uno|Una|El|Los|Las|O|Os|As|Um|Uma"
    "|Der|Die|Das|Ein|Eine|De|Het|Een|Den|Det|Ett|En"
)
_INVERTED = re.compile(rf"^(?P<head>.+), (?P<article>{_ARTICLES})(?P<rest> \(.*\))?$", re.IGNORECASE)
_YEAR_SUFFIX = re.compile(r"^(?P<title>.*\S)\s*\((?P<year>1[89]\d\d|20\d\d)\)$", re.DOTALL)
_SPACES = re.compile(r"\s+")
# HTML allows a missing semicolon; here it is required: "Rock &Regina" has no registered-trademark sign in it.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_NOT_WORD = re.compile(r"[^\w]+|_+")
_NON_JOINER = "\N{ZERO WIDTH NON-JOINER}"
_JOINERS = frozenset({_NON_JOINER, "\N{ZERO WIDTH JOINER}"})
# Arabic to N'Ko, the Indic scripts to Sinhala, Tibetan, Myanmar, Khmer, Mongolian, further blocks of Arabic.
_IDLE_NON_JOINER = re.compile(rf"{_NON_JOINER}+(?=\s|$)").sub
_JOINED_SCRIPTS = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ua8e0-\ua8ff\ufb50-\ufdff\ufe70-\ufefc]"
).match
_ACCENTS = frozenset({1, *range(10, 37)})
"""Canonical combining classes of overlays, Hebrew and Arabic points."""
_LEADING_ARTICLE = re.compile(r"^(the|a|an) (?=\S)")


def clean(text: str) -> str:
    r"""Return `text` safe to show and to tokenise: its spelling, without invisible characters.

    HTML entities become characters, the text is NFC, control, bidi, zero-width, private and unassigned
    characters are dropped, white space (line breaks included) collapses to single spaces. The joiners of Arabic and
    Indic scripts stay, as they are part of the spelling there. At most `MAX_TITLE_BYTES` bytes of UTF-8. Cleaning twice
    changes nothing.

    >>> clean("  Romeo &amp;\tJuliet\u200b ")
    'Romeo & Juliet'
    """
    text = text[:_MAX_CHARACTERS]
    if text.isascii() and text.isprintable() and "&" not in text:
        text = " ".join(text.split())
    else:
        previous = None
        while text != previous:  # a dropped character may have hidden an entity, or kept two others from composing
            previous = text
            text = _SPACES.sub(" ", unicodedata.normalize("NFC", _ENTITY.sub(_character, text)))
            text = visible(text).strip()
    if len(encoded := text.encode()) > MAX_TITLE_BYTES:
        text = encoded[:MAX_TITLE_BYTES].decode(errors="ignore").rstrip(f" {_NON_JOINER}")
    return text


def visible(text: str) -> str:
    r"""Return `text` without the characters that nobody sees; of joiners, those after letters that use them stay.

    >>> visible("a\u200bb"), visible("\ufeffa\u00ad")
    ('ab', 'a')
    """
    if text.isprintable():
        return text
    kept: list[str] = []
    for c in text:
        if unicodedata.category(c)[0] != "C" or (c in _JOINERS and kept and _JOINED_SCRIPTS(kept[-1])):
            kept.append(c)
    return _IDLE_NON_JOINER("", "".join(kept))


def printable(text: str) -> str:
    """Return `text` on one line without characters that could steer a terminal; nothing else changes."""
    return "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")


def _character(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])


def canonical(title: str) -> str:
    """Return the spelling the model sees: `clean`, with a trailing article put in front.

    >>> canonical("Matrix, The")
    'The Matrix'
    >>> canonical("Seventh Seal, The (Sjunde inseglet, Det)")
    'The Seventh Seal (Sjunde inseglet, Det)'
    >>> canonical("Misérables, Les")
    'Les Misérables'
    """
    title = clean(title)
    match = _INVERTED.match(title)
    if match is None:
        return title
    article = match["article"]
    separator = "" if article.endswith("'") else " "
    return f"{article}{separator}{match['head']}{match['rest'] or ''}"


def split_year(title: str) -> tuple[str, int | None]:
    """Split a trailing year in brackets off a title.

    >>> split_year("Heat (1995)")
    ('Heat', 1995)
    >>> split_year("2001: A Space Odyssey")
    ('2001: A Space Odyssey', None)
    """
    match = _YEAR_SUFFIX.match(title) if title.endswith(")") else None
    return (match["title"], int(match["year"])) if match else (title, None)


def with_year(title: str, year: int) -> str:
    """Return the spelling that distinguishes a title from other items of that title."""
    return f"{title} ({year})"


def key(title: str) -> str:
    """Return the comparison key of a title: equal keys are the same title to a reader.

    Case, accents, punctuation and spacing do not count, "&" equals "and", a trailing article equals a leading
    one. A title of punctuation alone is its own key, so a non-empty title has a non-empty key.

    >>> key("Matrix, The") == key("the  MATRIX")
    True
    >>> key("Amélie & co.")
    'amelie and co'
    """
    spelling = canonical(title)
    folded = unicodedata.normalize("NFKD", spelling.replace("&", " and ")).casefold()
    for silent in ("'", "\N{RIGHT SINGLE QUOTATION MARK}", *_JOINERS):
        folded = folded.replace(silent, "")
    if folded.isascii():
        return _NOT_WORD.sub(" ", folded).strip() or spelling.casefold()
    kept = "".join(c if c.isalnum() or _is_letter_part(c) else " " for c in folded if not _is_accent(c))
    return " ".join(kept.split()) or spelling.casefold()


def _is_accent(character: str) -> bool:
    """Whether a mark does not count in a key: accents, and the vowels that Hebrew and Arabic may leave out."""
    combining_class = unicodedata.combining(character)
    return combining_class in _ACCENTS or combining_class >= 200


def _is_letter_part(character: str) -> bool:
    """Whether a mark is part of the spelling: the vowels of Indic scripts and Thai, the voicing of kana."""
    return unicodedata.category(character)[0] == "M"


def article(title_key: str) -> str:
    """Return the leading English article of a key, "" without one."""
    match = _LEADING_ARTICLE.match(title_key)
    return match[1] if match else ""


def without_article(title_key: str) -> str:
    """Return a key without its leading English article, for looser comparison."""
    return _LEADING_ARTICLE.sub("", title_key)


def model_titles(titles: Sequence[tuple[str, int | None]]) -> list[str]:
    """Return the text the model sees for each (title, year): canonical, with the year where several have the title.

    Items that have the same title and the same year (or no year) keep the same text.

    >>> model_titles([("Heat", 1995), ("Heat", 1986), ("Matrix, The", 1999)])
    ['Heat (1995)', 'Heat (1986)', 'The Matrix']
    """
    return disambiguate([canonical(title) for title, _ in titles], [year for _, year in titles])


def disambiguate(spellings: Sequence[str], years: Sequence[int | None]) -> list[str]:
    """Return canonical spellings, with the year where several are equal; pass all items that share a title together."""
    counts = Counter(spellings)
    return [
        with_year(spelling, year) if counts[spelling] > 1 and year is not None else spelling
        for spelling, year in zip(spellings, years, strict=True)
    ]
