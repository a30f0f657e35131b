"""Facts in the first sentences of an article about a film: who directed it, its kind, where it is from."""

from __future__ import annotations

import re

_INITIAL = r"(?:[A-Z]\.(?:[A-Z]\.)*)"
_WORD = r"(?:[A-Z\u00c0-\u00de][\w'\u2019\-]+|Mc[A-Z]\w+|(?:de|von|van|del|der|la|le|di|da|du|O'|bin|ten|McG)\b)"
_NAME = rf"(?:{_WORD}|{_INITIAL})(?: (?:{_WORD}|{_INITIAL})){{0,3}}(?:,? (?:Jr|Sr)\.)?"
_DIRECTED = re.compile(
    r"\b(?:co-)?directed(?:, (?:co-)?\w+|,? (?:and|&) (?:co-)?\w+)*(?:,? (?:and|&) \w+)? by (?:and starring )?"
    rf"(?P<names>{_NAME}(?:(?:, | and |, and ){_NAME})*)"
)
_BREAK = re.compile(r", and | and |, ")
_KINDS = (
    # The last words of "is a 2016 American <kinds> film" and the genres they are.
    (r"romantic comed|romantic(?: \w+){0,2} comed|rom-com", ("Romance", "Comedy")),
    (r"comedy[- ]drama|dramedy", ("Comedy", "Drama")),
    (r"science[- ]fiction|sci-fi", ("Sci-Fi",)),
    (r"computer-animated|animated|anime\b|stop-motion", ("Animation",)),
    (r"documentary", ("Documentary",)),
    (r"superhero", ("Action",)),
    (r"slasher|horror", ("Horror",)),
    (r"\bbiographical|biopic", ("Biography",)),
    (r"\bhistorical", ("History",)),
    (r"\bcomed(?:y|ic)\b", ("Comedy",)),
    (r"\bdrama(?:tic)?\b", ("Drama",)),
    (r"\bthriller\b", ("Thriller",)),
    (r"\baction\b", ("Action",)),
    (r"\badventure\b", ("Adventure",)),
    (r"\bfantasy\b", ("Fantasy",)),
    (r"\bmusical\b", ("Musical",)),
    (r"\bmystery\b|whodunit", ("Mystery",)),
    (r"\bcrime\b|\bheist\b|\bgangster\b", ("Crime",)),
    (r"\bwestern\b", ("Western",)),
    (r"\bwar\b", ("War",)),
    (r"\bromance\b|\bromantic\b", ("Romance",)),
    (r"\bfamily\b|\bchildren's\b", ("Family",)),
    (r"\bsports?\b", ("Sport",)),
)
_KINDS_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), found) for pattern, found in _KINDS)
_YEAR = re.compile(r"\b(?:is|was) an? (?:upcoming )?((?:19|20)\d\d)\b")
_OPENING = re.compile(
    r"\b(?:is|was) an? (?P<kinds>[^.,;:]{0,160}?)\b(?:film|movie|documentary|mockumentary|anthology)\b"
)
_COUNTRIES = {
    "American": "United States", "British": "United Kingdom", "Canadian": "Canada", "French": "France",
    "German": "Germany", "Australian": "Australia", "Irish": "Ireland", "Italian": "Italy", "Japanese": "Japan",
    "Spanish": "Spain", "Mexican": "Mexico", "Indian": "India", "Chinese": "People's Republic of China",
    "South Korean": "South Korea", "Danish": "Denmark", "Swedish": "Sweden", "Norwegian": "Norway",
    "Belgian": "Belgium", "New Zealand": "New Zealand", "Israeli": "Israel", "Hong Kong": "Hong Kong",
    "Finnish": "Finland", "Polish": "Poland", "Russian": "Russia", "Brazilian": "Brazil", "Dutch": "Netherlands",
}  # fmt: skip
_LANGUAGES = re.compile(
    r"\b(English|French|Spanish|German|Italian|Japanese|Korean|Mandarin|Hindi|Yiddish)[- ]language\b"
)
_ENGLISH = frozenset({"United States", "United Kingdom", "Canada", "Australia", "Ireland", "New Zealand"})


def directors(lead: str) -> list[str]:
    """Return the names after "directed by".

    >>> directors("Booksmart is a 2019 American comedy film directed by Olivia Wilde (in her debut), written by A B.")
    ['Olivia Wilde']
    """
    match = _DIRECTED.search(lead)
    names = _BREAK.split(match["names"]) if match else []
    if len(names) > 1 and " " not in names[0] and " " in names[1]:  # "Joel and Ethan Coen"
        names[0] += " " + names[1].split(" ", 1)[1]
    return [name for name in dict.fromkeys(names) if " " in name and "Academy" not in name]


def year(lead: str) -> int | None:
    """Return the year that the opening gives the film.

    >>> year("1917 is a 2019 British war film directed by Sam Mendes.")
    2019
    """
    match = _YEAR.search(lead[:200])
    return int(match[1]) if match else None


def genres(lead: str, listed: list[str]) -> list[str]:
    """Return the listed genres, and after them those that the lead's opening names."""
    match = _OPENING.search(lead)
    words = f"{match[0]}" if match else ""
    found = dict.fromkeys(listed)
    for pattern, kinds in _KINDS_COMPILED:
        if pattern.search(words):
            found |= dict.fromkeys(kinds)
    return list(found)


def origin(lead: str) -> dict[str, list[str]]:
    """Return country and language, where the lead's opening says them."""
    match = _OPENING.search(lead)
    if match is None:
        return {}
    countries = [name for word, name in _COUNTRIES.items() if re.search(rf"\b{word}\b(?!-language)", match["kinds"])]
    languages = _LANGUAGES.findall(match["kinds"])
    if not languages and countries and set(countries) <= _ENGLISH:
        languages = ["English"]
    return {name: found for name, found in (("country", countries), ("language", languages)) if found}
