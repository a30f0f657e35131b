"""People's names in one spelling: that of the first films, wherever only spaces, hyphens or accents differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from genrec_edge.catalog import titles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genrec_edge.convert.films.film import Film


def _key(name: str) -> str:
    return titles.key(name).replace(" ", "")


def respell(films: Iterable[Film]) -> int:
    """Change the names of added films to the spelling of the first films; return how many names changed.

    "Hirokazu Koreeda" becomes "Hirokazu Kore-eda". Where the first films have several spellings, the commonest.
    """
    films = list(films)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for film in films:
        if film.source == "bokeh":
            for fact in ("director", "cast"):
                for name in film.facts.get(fact, ()):
                    counts[_key(name)][name] += 1
    spellings = {key: min(found, key=lambda name: (-found[name], name)) for key, found in counts.items()}
    changed = 0
    for film in films:
        for fact in ("director", "cast") if film.source != "bokeh" else ():
            names = film.facts.get(fact, [])
            respelled = list(dict.fromkeys(spellings.get(_key(name), name) for name in names))
            changed += sum(name not in respelled for name in names)
            film.facts[fact] = respelled
    return changed
