"""The files the catalog is made of: pinned, and read into films."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import lzma
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec_edge.catalog import titles
from genrec_edge.convert.films import genres, leads
from genrec_edge.convert.films.bokeh import split_names
from genrec_edge.convert.films.film import FACTS, Film
from genrec_edge.errors import GenRecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FOLDER = Path(__file__).parents[2] / "models" / "sources"
DATA = Path(__file__).parents[2] / "genrec_edge" / "data"
"""Where the files lie that the package ships as a data set, too."""
PINS = {
    "movietweetings/films-2018.tsv.xz": "39bf90c147e850b24a9a5b9321c8b71033aa6c898357a6c35eed6ac7398b2a0d",
    "movietweetings/movies.dat.xz": "2526859d07ae3f9f9c30273677920c5fb3f6ce9171a1c34839cf8a5382256207",
    "movietweetings/ratings.dat.xz": "950cea094e084f0c12477f1934cc2492402d34a05290fb79996498091314d39b",
    "redial/dialogues.jsonl.xz": "8e4cbb57af15cb46c0a380c4844135bcc2514f3097e6d84d74f0e7c9922917dc",
    "redial/mentions.tsv.xz": "5d4c0dc79b63de79a449bba550bfdc0192452fe04212367b64090c668438d08a",
    "wikidata/films-2015-2025.csv.xz": "72ba975f4bf60265a029ff7ba73bee9360a8e8909e8de89f962e7a898e6ccac6",
    "wikipedia/american-films.jsonl.xz": "e84339fa8e792135b93f2e482b473ab0f7788b6964caa0b76e4b2ba301b64e3c",
}
BY_HAND = "by-hand/films.tsv"
CORRECTIONS = "by-hand/corrections.tsv"
MAX_BYTES = 64 * 2**20
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NAME_REST = re.compile(r"\)|^(?:director|screenplay|screenwriter|narrator|voice|producer|writer)s?\b", re.IGNORECASE)


def text(name: str, folder: Path = FOLDER) -> str:
    """Return the text of a pinned file of the repository.

    Raises:
        GenRecError: the file is missing, is not the pinned one, or is larger than any of them.
    """
    path = folder / name
    try:
        packed = path.read_bytes()
    except OSError as e:
        raise _missing(path, e) from e
    if (found := hashlib.sha256(packed).hexdigest()) != PINS[name]:
        message = f"{path} is not the pinned file: its sha256 is {found}, expected {PINS[name]}"
        raise GenRecError(message, hint="take the file out of the repository again")
    unpacked = lzma.LZMADecompressor().decompress(packed, max_length=MAX_BYTES)
    return unpacked.decode("utf-8")


def _missing(path: Path, error: OSError) -> GenRecError:
    message = f"cannot read {path}, which the catalog is made of ({error.strerror})"
    return GenRecError(message, hint="run this in a checkout of the repository")


def plain_text(name: str, folder: Path = FOLDER) -> str:
    """Return the text of a file written by hand, which is not pinned: git has its history.

    Raises:
        GenRecError: the file is missing.
    """
    path = folder / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise _missing(path, e) from e


def corrections(folder: Path = FOLDER) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the wrong and the right value by (id, field)."""
    rows = _by_hand_rows(plain_text(CORRECTIONS, folder))
    return {(row["id"], row["field"]): (row["wrong"], row["right"]) for row in rows}


def to_2014(rows: Iterable[Mapping[str, Any]], corrections: Mapping[tuple[str, str], tuple[str, str]]) -> list[Film]:
    """Return the films of Wikidata to 2014, as `bokeh.films` yields them, with corrected titles and years."""
    films = []
    for row in rows:
        title, year = (_corrected(row, name, corrections) for name in ("title", "year"))
        film = Film(title, int(year), "bokeh", row["id"])
        film.facts = {name: list(row[name]) for name in FACTS if name in row}
        film.runtime, film.awards = row.get("runtime"), row.get("awards")
        films.append(film)
    return films


def _corrected(row: Mapping[str, Any], name: str, corrections: Mapping[tuple[str, str], tuple[str, str]]) -> str:
    """Return a field of a row, corrected while it still is wrong: once Wikidata has it right, that counts."""
    value = str(row[name])
    wrong, right = corrections.get((row["id"], name), ("", ""))
    return right if value == wrong else value


def wikidata(content: str) -> Iterator[Film]:
    """Yield the films of Wikidata, 2015 to 2025; the id is the entity's."""
    for row in csv.DictReader(io.StringIO(content)):
        facts = {
            "genres": genres.mapped(row["genre"].split("|")),
            "director": _names(row["directors"]),
            "cast": _names(row["actors"]),
        }
        runtime = round(float(row["runtime"])) if _NUMBER.fullmatch(row["runtime"]) else None
        yield Film(titles.clean(row["title"]).strip("'\""), int(row["year"]), "wikidata", row["qid"], facts, runtime)


def _names(text: str) -> list[str]:
    """Return the names of a list; where Wikidata knows that there is a value, but not which, an address stands."""
    return [name for name in split_names(text) if not name.startswith("http")]


def movietweetings(content: str, separator: str) -> Iterator[Film]:
    """Yield the films of one of MovieTweetings' two lists; what is no film is left out."""
    for line in content.splitlines():
        number, name, kinds = line.split(separator)
        title, year = titles.split_year(titles.clean(name))
        words = kinds.split("|") if kinds else []
        if year is None or genres.NO_FILM & set(words):
            continue
        marks = {word for word in words if word in {"Short", "Film-Noir"}}
        imdb_id = number if number.startswith("tt") else f"tt{number}"
        yield Film(title, year, "movietweetings", imdb_id, {"genres": genres.mapped(words)}, marks=marks)


def ratings(content: str) -> Counter[str]:
    """Return how many people rated each film of MovieTweetings, by IMDb id."""
    pairs = {tuple(line.split("::")[:2]) for line in content.splitlines()}
    return Counter(f"tt{number}" for _, number in pairs)


def wikipedia(content: str) -> Iterator[Film]:
    """Yield the films of Wikipedia's American lists; a director is read out of the lead."""
    for line in content.splitlines():
        row = json.loads(line)
        cast = [titles.clean(name) for name in row.get("cast", ()) if not _NAME_REST.search(name)]
        words, lead = row.get("genres", []), row.get("extract", "")
        facts = {"genres": genres.mapped(words), "director": leads.directors(lead), "cast": cast}
        facts["genres"] = leads.genres(lead, facts["genres"])
        facts |= leads.origin(lead)
        yield Film(titles.clean(row["title"]), row["year"], "wikipedia", "", facts, lead=lead, marks=set(words))


def redial(content: str) -> Iterator[Film]:
    """Yield the films that people talk about in ReDial; year 0 where none is said."""
    for line in content.splitlines()[1:]:
        _, name, count = line.split("\t")
        title, year = titles.split_year(titles.clean(name))
        yield Film(title, year or 0, "redial", mentions=int(count))


def by_hand(content: str) -> Iterator[Film]:
    """Yield the well-known films of the list by hand."""
    for row in _by_hand_rows(content):
        film = Film(row["title"], int(row["year"]), "by hand", renown=int(row["renown"]))
        film.facts = {name: [v.strip() for v in row[name].split(";") if v.strip()] for name in FACTS if row[name]}
        film.facts["genres"] = genres.mapped(film.facts.get("genres", ()))
        film.aliases = [alias.strip() for alias in row["aliases"].split(" | ") if alias.strip()]
        film.words = [word.strip() for word in row["keywords"].split(";") if word.strip()]
        yield film


def _by_hand_rows(content: str) -> Iterator[dict[str, str]]:
    lines = [line for line in content.splitlines() if line and not line.startswith("#")]
    return csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
