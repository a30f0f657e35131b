"""Facts in common from plain loops over the definition, and catalogs of made-up items."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genrec_edge.catalog import writer

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FITTED = {"genres": 2.92, "director": 0.39, "cast": 0.93, "country": 0.97, "language": 0.69, "keywords": 0.81}
FITTED |= {"year": 1.20, "title": 0.27}


@dataclass(frozen=True)
class Film:
    """An item: its title and year, and the values of its columns."""

    title: str
    year: int | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


def facts_by_column(film: Film) -> dict[str, set[Any]]:
    """Return the facts of an item as the definition has them."""
    facts: dict[str, set[Any]] = {name: set(values) for name, values in film.columns.items()}
    year = film.year
    facts["year"] = set() if year is None else {("5", year // 5), ("5, later", (year + 2) // 5), ("10", year // 10)}
    facts["title"] = {word for word in re.findall(r"[a-z0-9]+", film.title.lower()) if len(word) >= 3}
    return facts


def facts_in_common(films: Sequence[Film], history: Sequence[int]) -> list[float]:
    """Return the nats of each item after a history of items, oldest first, in the words of `prior.facts`."""
    n = len(films)
    facts = [facts_by_column(film) for film in films]
    columns = sorted({name for own in facts for name in own})
    newest_first = list(reversed(history))[:20]
    total = sum(0.95**i for i in range(len(newest_first)))
    scores = [0.0] * n
    for column in columns:
        having = Counter(value for own in facts for value in own.get(column, ()))
        q = {value: max(count, 3) / n for value, count in having.items()}
        p: defaultdict[Any, float] = defaultdict(float)
        for i, item in enumerate(newest_first):
            for value in facts[item].get(column, ()):
                p[value] += 0.95**i / total
        entries = [-math.log(q[value]) for own in facts for value in own.get(column, ())]
        if not entries:
            continue
        weight = FITTED.get(column) or 3.4 / max(sum(entries) / len(entries), 2)
        for j, own in enumerate(facts):
            shared = [value for value in own.get(column, ()) if having[value] > 1]
            lifts = [math.log(1 + p[value] / (3 * q[value])) for value in shared]
            if lifts:
                scores[j] += weight * sum(lifts) / (1 + len(own[column]))
    return scores


def random_films(rng: random.Random, n: int) -> list[Film]:
    """Return films with columns of every kind: fitted and others, of lists and of single texts, some of them empty."""
    words = ["red", "blue", "moon", "of", "old", "night", "it", "sea", "two", "war"]

    def some(letter: str, n_values: int, most: int) -> list[str]:
        return rng.sample(
            [f"{letter}{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(n_values)], rng.randint(0, most)
        )

    return [
        Film(
            " ".join(rng.sample(words, rng.randint(1, 3))) + f" x{i}",
            rng.choice([None, *range(1950, 2025, 3)]),
            {
                "genres": some("g", 3, 2),
                "cast": some("c", 2 * n, 6),
                "director": some("d", max(2, n // 3), 2),
                "mood": some("m", 40, 3),
                "label": some("l", 6, 1),
            },
        )
        for i in range(n)
    ]


def build_films(films: Sequence[Film], path: Path) -> Path:
    """Build a catalog of films with the ids f0, f1, ...; columns of which a film has several values are lists."""
    names = sorted({name for film in films for name in film.columns})
    lists = [name for name in names if any(len(film.columns.get(name, ())) > 1 for film in films)]
    source = path.with_suffix(".csv")
    with source.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "title", "year", *names])
        for i, film in enumerate(films):
            cells = ["|".join(film.columns.get(name, ())) for name in names]
            out.writerow([f"f{i}", film.title, film.year, *cells])
    writer.build(source, path, lists=lists)
    return path
