"""The sets of liked films that come with the package: made again, and against the sources read another way."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.convert.films import likes, sources
from genrec_edge.convert.films.build import OUT_PATH
from genrec_edge.errors import GenRecError
from genrec_edge.prior.open_likes import RATED, SCHEMA, TALKED, shipped_likes_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(lzma.decompress(shipped_likes_path().read_bytes()))
    return document


def lines_of(path: Path) -> list[str]:
    return lzma.decompress(path.read_bytes()).decode().splitlines()


def test_every_film_is_one_of_the_package_and_is_liked(shipped: dict[str, Any]) -> None:
    films = {row["id"]: (row["title"], row["year"]) for row in map(json.loads, lines_of(OUT_PATH))}
    assert shipped["schema"] == SCHEMA
    assert all(films[film_id] == (title, year) for film_id, title, year in shipped["items"])
    used = {place for sets in shipped["sets"].values() for one in sets for place in one}
    assert used == set(range(len(shipped["items"])))
    assert all(one == sorted(set(one)) and len(one) >= 2 for sets in shipped["sets"].values() for one in sets)
    assert shipped_likes_path().stat().st_size < 300_000


@pytest.mark.slow
def test_the_shipped_bytes_can_be_made_again(tmp_path: Path, shipped: dict[str, Any]) -> None:
    """They are the same where the library that packs is; what they hold is the same everywhere."""
    said = list(likes.main(OUT_PATH, tmp_path / "likes.json.xz"))
    assert lzma.decompress((tmp_path / "likes.json.xz").read_bytes()) == lzma.decompress(
        shipped_likes_path().read_bytes()
    )
    counts = {name: (len(sets), sum(map(len, sets))) for name, sets in shipped["sets"].items()}
    assert said == [
        *(f"{name}: {n_sets:,} sets, {n_likes:,} likes" for name, (n_sets, n_likes) in counts.items()),
        f"{tmp_path / 'likes.json.xz'}: {shipped_likes_path().stat().st_size:,} bytes",
    ]


@pytest.mark.slow
def test_sets_of_ratings_are_those_of_the_source(shipped: dict[str, Any]) -> None:
    """People whose liked films all have an IMDb id of the package: their ids are the set, with nothing looked up."""
    place_of = {film_id: place for place, (film_id, _, _) in enumerate(shipped["items"])}
    liked: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines_of(sources.DATA / "movietweetings" / "ratings.dat.xz"):
        user, number, rating, _ = line.split("::")
        if int(rating) > 5:
            liked[user].add(f"tt{number}")
    found = Counter(frozenset(one) for one in shipped["sets"][RATED])
    sure = [own for own in liked.values() if len(own) > 1 and own <= place_of.keys()]
    expected = Counter(frozenset(place_of[film_id] for film_id in own) for own in sure)
    assert len(sure) > 0.5 * len(shipped["sets"][RATED])
    assert expected <= found
    assert len(shipped["sets"][RATED]) <= sum(len(own) > 1 for own in liked.values())


@pytest.mark.slow
def test_sets_of_dialogues_are_what_somebody_said_they_liked(shipped: dict[str, Any]) -> None:
    """Films are told apart by what is written of them, "Title (Year)", without the rules that join titles."""
    place_of: dict[str, int] = {}
    n_named = Counter(f"{title} ({year})" for _, title, year in shipped["items"])
    for place, (_, title, year) in enumerate(shipped["items"]):
        place_of[f"{title} ({year})"] = place
    found, n_sure = Counter(frozenset(one) for one in shipped["sets"][TALKED]), 0
    for line in lines_of(sources.FOLDER / "redial" / "dialogues.jsonl.xz"):
        dialogue = json.loads(line)
        said = [dialogue[who] or {} for who in ("seekerAnswers", "recommenderAnswers")]
        liked = {dialogue["movies"].get(number) for of_one in said for number, a in of_one.items() if a["liked"] == 1}
        names = {" ".join(name.split()) for name in liked if name is not None}
        if len(names) > 1 and all(n_named[name] == 1 for name in names):
            n_sure += 1
            assert found[frozenset(place_of[name] for name in names)]
    assert n_sure > 0.3 * len(shipped["sets"][TALKED])


def test_a_source_that_is_missing_or_another_one_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FOLDER", tmp_path)
    monkeypatch.setattr(sources.text, "__defaults__", (tmp_path,))
    with pytest.raises(GenRecError, match="dialogues"):
        list(likes.talked_sets([]))
    (tmp_path / "redial").mkdir()
    (tmp_path / "redial" / "dialogues.jsonl.xz").write_bytes(lzma.compress(b"{}"))
    with pytest.raises(GenRecError, match="is not the pinned file: its sha256 is"):
        list(likes.talked_sets([]))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["a.whl", "films"], ["a.whl", "films", "likes", "more"]])
def test_the_program_says_how_it_is_called(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "genrec_edge.convert.films", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert "python -m genrec_edge.convert.films bokeh_sampledata-2026.1-py3-none-any.whl [FILMS LIKES]" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_program_leaves_both_files_alone_where_one_cannot_be_made(tmp_path: Path) -> None:
    wheel, films, packed = (tmp_path / name for name in ("no.whl", "films.xz", "likes.xz"))
    command = [sys.executable, "-m", "genrec_edge.convert.films", str(wheel), str(films), str(packed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert str(wheel) in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
