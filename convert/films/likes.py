"""The sets of liked films that the package ships: of the catalog's films, MovieTweetings and ReDial.

`prior/open_likes.py` reads the file; `genrec_edge/data/README.md` says what is in it.
"""

from __future__ import annotations

import json
import lzma
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.catalog import titles
from genrec_edge.convert.films import sources
from genrec_edge.datasets import movietweetings
from genrec_edge.datasets.films_by_title import FilmsByTitle
from genrec_edge.prior.open_likes import RATED, SCHEMA, TALKED
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LEAST_RATING = 6
"""Of 10: what people of MovieTweetings rated as high they liked, for this purpose."""
LEAST_SET = 2
"""A set of one item says nothing of what goes together."""
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class _LikedFilm:
    place: int
    id: str
    title: str
    year: int | None


def _films(path: Path) -> list[_LikedFilm]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [_LikedFilm(place, row["id"], row["title"], row.get("year")) for place, row in enumerate(rows)]


def rated_sets(films: Iterable[_LikedFilm], films_path: Path) -> Iterator[list[int]]:
    """Yield what each person of MovieTweetings liked, as places of films, in the order of persons."""
    place_of = {film.id: film.place for film in films}
    film_of = movietweetings.item_ids(sources.DATA / "movietweetings" / movietweetings.MOVIES, films_path)
    liked: defaultdict[int, set[int]] = defaultdict(set)
    for line in sources.text("movietweetings/ratings.dat.xz", sources.DATA).splitlines():
        user, number, rating, _ = line.split("::")
        place = place_of.get(film_of[number])
        if place is not None and int(rating) >= LEAST_RATING:
            liked[int(user)].add(place)
    yield from (sorted(liked[user]) for user in sorted(liked))


def talked_sets(films: Iterable[_LikedFilm]) -> Iterator[list[int]]:
    """Yield what somebody liked in each dialogue of ReDial, as places of films, in the order of dialogues."""
    by_title = FilmsByTitle(films)
    for line in sources.text("redial/dialogues.jsonl.xz").splitlines():
        dialogue = json.loads(line)
        answers = [dialogue[who] or {} for who in ("seekerAnswers", "recommenderAnswers")]
        liked = {number for of_one in answers for number, said in of_one.items() if said.get("liked") == 1}
        found = set()
        for number in liked & dialogue["movies"].keys():
            title, year = titles.split_year(titles.clean(_SPACES.sub(" ", dialogue["movies"][number])))
            match = by_title.find(title, year)
            if match is not None:
                found.add(match.place)
        yield sorted(found)


def document(films_path: Path) -> dict[str, object]:
    """Return the content of the file: the films that are liked, and the sets as places among these."""
    films = _films(films_path)
    sets = {
        RATED: [one for one in rated_sets(films, films_path) if len(one) >= LEAST_SET],
        TALKED: [one for one in talked_sets(films) if len(one) >= LEAST_SET],
    }
    used = sorted({place for of_source in sets.values() for one in of_source for place in one})
    place_in_file = {place: i for i, place in enumerate(used)}
    items = [[films[place].id, films[place].title, films[place].year] for place in used]
    numbered = {name: [[place_in_file[place] for place in one] for one in found] for name, found in sets.items()}
    return {"schema": SCHEMA, "items": items, "sets": numbered}


def main(films_path: Path, out_path: Path) -> Iterator[str]:
    """Make the file of the films in `films_path`; yield lines that say what is in it.

    Raises:
        GenRecError: a source is missing or not the pinned one.
    """
    made = document(films_path)
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    packed = lzma.compress(text.encode(), format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)
    with atomic_write(out_path) as file:
        file.write(packed)
    sets = made["sets"]
    if isinstance(sets, dict):
        yield from (f"{name}: {len(found):,} sets, {sum(map(len, found)):,} likes" for name, found in sets.items())
    yield f"{out_path}: {len(packed):,} bytes"
