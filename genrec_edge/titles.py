"""One canonical spelling of a title, and the key under which spellings are compared.

Training, prompts, the title index and the catalog all go through here, so that a title is the same text everywhere.
Knows nothing of catalogs, models or tokens.
"""

from __future__ import annotations

import html
import re
import unicodedata

MAX_TITLE_BYTES = 512
"""Longer titles are cut at a character boundary; the longest of 58,788 film titles has 121 bytes."""

_ARTICLES = (
    # English, French, Italian, Spanish, Portuguese, German, Dutch, Scandinavian: those that catalogs move to the end.
    "The|A|An|Le|La|Les|L'|Un|Une|Il|Lo|I|Gli|Uno|Una|El|Los|Las|O|Os|As|Um|Uma|Der|Die|Das|Ein|Eine|De|Het|Een|Den|Det|Ett|En"
)
_INVERTED = re.compile(rf"^(?P<head>.+), (?P<article>{_ARTICLES})(?P<rest> \(.*\))?$", re.IGNORECASE)
_YEAR_SUFFIX = re.compile(r"^(?P<title>.*\S)\s*\((?P<year>1[89]\d\d|20\d\d)\)$", re.DOTALL)
_SPACES = re.compile(r"\s+")
_NOT_WORD = re.compile(r"[^\w]+|_+")
_LEADING_ARTICLE = re.compile(r"^(the|a|an) (?=\S)")


def clean(text: str) -> str:
    """Return `text` safe to show and to tokenise: display spelling kept, nothing invisible left.

    HTML entities become characters, the text is NFC, control, bidi, zero-width, private and unassigned characters are
    dropped, white space (line breaks included) collapses to single spaces. At most `MAX_TITLE_BYTES` bytes of UTF-8.
    """
    text = unicodedata.normalize("NFC", html.unescape(text))
    text = _SPACES.sub(" ", text)
    text = "".join(c for c in text if unicodedata.category(c)[0] != "C")
    # Dropped characters may have stood between two spaces, or between two characters that now compose.
    text = _SPACES.sub(" ", unicodedata.normalize("NFC", text)).strip()
    if len(encoded := text.encode()) > MAX_TITLE_BYTES:
        text = encoded[:MAX_TITLE_BYTES].decode(errors="ignore").rstrip()
    return text


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
    joint = "" if article.endswith("'") else " "
    return f"{article}{joint}{match['head']}{match['rest'] or ''}"


def split_year(title: str) -> tuple[str, int | None]:
    """Split a trailing year in brackets off a title.

    >>> split_year("Heat (1995)")
    ('Heat', 1995)
    >>> split_year("2001: A Space Odyssey")
    ('2001: A Space Odyssey', None)
    """
    match = _YEAR_SUFFIX.match(title)
    return (match["title"], int(match["year"])) if match else (title, None)


def with_year(title: str, year: int) -> str:
    """Return the spelling that tells a title apart from its namesakes."""
    return f"{title} ({year})"


def key(title: str) -> str:
    """Return the comparison key of a title: equal keys are the same title to a reader.

    Case, accents, punctuation and spacing do not count, "&" equals "and", a trailing article equals a leading one. A
    title of punctuation alone is its own key, so a non-empty title has a non-empty key.

    >>> key("Matrix, The") == key("the  MATRIX")
    True
    >>> key("Amélie & co.")
    'amelie and co'
    """
    spelling = canonical(title)
    folded = unicodedata.normalize("NFKD", spelling.replace("&", " and ")).casefold()
    folded = "".join(c for c in folded if not unicodedata.combining(c)).replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
    return _NOT_WORD.sub(" ", folded).strip() or spelling.casefold()


def without_article(title_key: str) -> str:
    """Return a key without its leading English article, for looser comparison."""
    return _LEADING_ARTICLE.sub("", title_key)
