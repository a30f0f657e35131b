"""The genres of every source in the words of the first films."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

GENRES = (
    "Action", "Adventure", "Animation", "Biography", "Comedy", "Crime", "Documentary", "Drama", "Family", "Fantasy",
    "History", "Horror", "Music", "Musical", "Mystery", "Romance", "Sci-Fi", "Sport", "Thriller", "War", "Western",
)  # fmt: skip
"""Those of the first films; no other is written."""

_OTHER_WORDS = {
    # Wikidata's query names, in small letters.
    "adventure": "Adventure",
    "animated": "Animation",
    "comedy": "Comedy",
    "crime": "Crime",
    "crime thriller": "Thriller",
    "drama": "Drama",
    "horror": "Horror",
    "romance": "Romance",
    "science fiction": "Sci-Fi",
    "thriller": "Thriller",
    # MovieTweetings, where IMDb's words differ.
    "Film-Noir": "Crime",
    # Wikipedia's lists.
    "Animated": "Animation",
    "Historical": "History",
    "Noir": "Crime",
    "Science Fiction": "Sci-Fi",
    "Slasher": "Horror",
    "Sports": "Sport",
    "Spy": "Thriller",
    "Superhero": "Action",
    "Martial Arts": "Action",
    "Disaster": "Action",
    "Suspense": "Thriller",
    "Found Footage": "Horror",
}
NO_GENRE = frozenset(
    # Words of the sources that say nothing of these; some of them become keywords.
    [
        "Short",
        "Silent",
        "Independent",
        "Supernatural",
        "Erotic",
        "Teen",
        "Satire",
        "Political",
        "Legal",
        "Performance",
        "Dance",
    ]
) | {"Live Action"}
NO_FILM = frozenset({"News", "Adult", "Reality-TV", "Talk-Show", "Game-Show"})
"""What has one of these is no film of this catalog."""


def mapped(words: Iterable[str]) -> list[str]:
    """Return the genres that a source's words mean, each once, in the source's order.

    Raises:
        KeyError: a word that nobody has judged yet.
    """
    found: dict[str, None] = {}
    for word in words:
        if word in GENRES:
            found[word] = None
        elif word not in NO_GENRE and word not in NO_FILM:
            found[_OTHER_WORDS[word]] = None
    return list(found)
