"""From the pinned sources to the data file."""

from __future__ import annotations

import json
import lzma
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec_edge.convert.films import bokeh, keywords, known, merge, names, sources
from genrec_edge.convert.films.joins import Index, loose_keys
from genrec_edge.errors import GenRecError
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from genrec_edge.convert.films.film import Film

OUT_PATH = sources.DATA / "films.jsonl.xz"
MAX_BYTES = 2 * 2**20


def films(base: Iterable[Mapping[str, Any]]) -> merge.Merged:
    """Return all films, joined and numbered; `base` are the films to 2014 as `bokeh.films` yields them.

    Raises:
        GenRecError: a source is missing or not the pinned one.
    """
    merged = merge.Merged()
    for film in sources.to_2014(base, sources.corrections()):
        merged.add(film)
    listed = list(sources.movietweetings(sources.text("movietweetings/films-2018.tsv.xz"), "\t"))
    rated = list(sources.movietweetings(sources.text("movietweetings/movies.dat.xz", sources.DATA), "::"))
    ratings = sources.ratings(sources.text("movietweetings/ratings.dat.xz", sources.DATA))
    american = list(sources.wikipedia(sources.text("wikipedia/american-films.jsonl.xz")))
    mentioned = list(sources.redial(sources.text("redial/mentions.tsv.xz")))
    known_films = list(sources.by_hand(sources.plain_text(sources.BY_HAND)))
    numbers = Index(listed)
    elsewhere = Index([*listed, *american, *mentioned, *known_films])
    merge.add_titles(merged, [*listed, *rated])
    merge.add_wikidata(merged, sources.wikidata(sources.text("wikidata/films-2015-2025.csv.xz")), elsewhere)
    merge.add_by_hand(merged, known_films)
    merge.add_movietweetings(merged, rated, ratings)
    rest = merge.add_wikipedia(merged, american)
    merge.add_redial(merged, mentioned, rest, numbers)
    merge.drop_rereleases(merged)
    merge.number(merged, numbers)
    merged.films = merge.without_doubles(merged)
    merged.counts["names respelled"] = names.respell(merged.films)
    return merged


def records(found: list[Film]) -> Iterator[dict[str, object]]:
    """Yield the lines: the films of earlier versions in their order, then the others by id."""
    scores = known.known(found)
    ordered = sorted(found, key=lambda film: (film.source != "bokeh", film.id))
    for film, words in zip(ordered, keywords.keywords(ordered), strict=True):
        yield film.record(words, aliases(film), scores[film.id])


def aliases(film: Film) -> list[str]:
    """Return other titles that people use, where a looser comparison would not find the film by its own."""
    keys, found = set(loose_keys(film.title)), []
    for alias in film.aliases:
        if keys.isdisjoint(loose_keys(alias)):
            keys.update(loose_keys(alias))
            found.append(alias)
    return found


def pack(lines: Iterable[Mapping[str, object]]) -> bytes:
    """Return the lines as compressed JSON, the same bytes on every machine."""
    text = "".join(f"{json.dumps(line, ensure_ascii=False, separators=(',', ':'))}\n" for line in lines)
    return lzma.compress(text.encode(), format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)


def main(wheel_path: Path, out_path: Path = OUT_PATH) -> Iterator[str]:
    """Make the file out of the wheel of bokeh-sampledata and the sources here; yield lines that say what was done.

    Raises:
        GenRecError: a source is not the pinned one, or the result is too large to ship.
    """
    with tempfile.TemporaryDirectory() as folder:
        merged = films(bokeh.films(bokeh.database(wheel_path, Path(folder))))
    packed = pack(records(merged.films))
    if len(packed) > MAX_BYTES:
        message = f"the packed films take {len(packed):,} bytes; at most {MAX_BYTES:,} can be shipped"
        raise GenRecError(message)
    with atomic_write(out_path) as file:
        file.write(packed)
    yield from (f"{name}: {count:,}" for name, count in sorted(merged.counts.items()))
    in_file = Counter(film.source for film in merged.films)
    yield from (f"in the file from {source}: {count:,}" for source, count in in_file.items())
    yield f"{out_path}: {len(merged.films):,} films, {len(packed):,} bytes"
