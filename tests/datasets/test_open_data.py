"""Data sets of files that belong to this project: MovieTweetings out of the package, goodbooks out of a checkout."""

from __future__ import annotations

import csv
import json
import lzma
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets import folder_source
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.movietweetings import tables
from genrec_edge.datasets.pull import pull
from genrec_edge.errors import DatasetError, UsageError
from genrec_edge.storage.files import sha256_file
from tests.support.folders import ROOT
from tests.support.interactions import make, no_event

if TYPE_CHECKING:
    from pathlib import Path

FILMS = ROOT / "genrec_edge" / "data" / "films.jsonl.xz"
TWEETS = ROOT / "genrec_edge" / "data" / "movietweetings"
BOOKS = ROOT / "examples" / "goodbooks"


def bring(name: str, out: Path, *, from_: Path | None = None, force: bool = False) -> tuple[Path, list[str]]:
    notes: list[str] = []
    return pull(name, out, from_=from_, offline=True, force=force, on_event=no_event, on_note=notes.append), notes


def lines(path: Path) -> list[str]:
    return lzma.decompress(path.read_bytes()).decode().splitlines()


@pytest.mark.slow
def test_movietweetings_has_all_films_and_says_which_events_it_leaves_out(own_home: Path, tmp_path: Path) -> None:
    out, notes = bring("movietweetings", tmp_path / "mt")
    dataset, films = load(out), [json.loads(line) for line in lines(FILMS)]
    assert set(dataset.item_ids) == {film["id"] for film in films}
    rows = [line.split("::") for line in lines(TWEETS / "ratings.dat.xz")]
    found = zip(dataset.users.tolist(), dataset.items.tolist(), dataset.timestamps, dataset.ratings, strict=True)
    events = [(dataset.user_ids[u], dataset.item_ids[i], int(time), int(rating)) for u, i, time, rating in found]
    known = {film["id"] for film in films}
    kept = [(user, f"tt{film}", int(time), int(rating)) for user, film, rating, time in rows if f"tt{film}" in known]
    assert [event for event in events if event[1].startswith("tt")] == kept
    there = Counter((user, time, rating) for user, _, time, rating in events)
    missed = Counter(film for user, film, rating, time in rows if not there[user, int(time), int(rating)])
    joined = {film for _, film, _, _ in rows if f"tt{film}" not in known} - missed.keys()
    titled = {film["id"]: (film["title"], film["year"]) for film in films}
    names = dict(line.split("::")[:2] for line in lines(TWEETS / "movies.dat.xz"))
    by_title = {titled[item] for _, item, _, _ in events if not item.startswith("tt")}
    assert {(title.lower(), year) for title, year in by_title} == {
        (names[film][:-7].lower(), int(names[film][-5:-1])) for film in joined
    }, "films without an IMDb id"
    n_out = len(rows) - len(events)
    assert dataset.card["interactions"]["left_out"] == n_out == missed.total()
    assert 0 < n_out < len(rows) / 10
    (note,) = notes
    (most_missed, _), *_ = missed.most_common(1)
    same_name = [film for film, name in names.items() if name == names[most_missed]]
    said = names[most_missed] if len(same_name) == 1 else f"{names[most_missed]} tt{most_missed}"
    assert note.startswith(f"left out: {n_out:,} events of ")
    assert f"not in the item table: {said!r}, " in note
    licence = "MIT AND CC0-1.0 AND CC-BY-4.0"
    assert (dataset.card["licence"], dataset.ratings.min(), dataset.ratings.max()) == (licence, 0, 10)
    assert [file["name"] for file in dataset.card["source"]["files"]] == [
        "ratings.dat.xz",
        "movies.dat.xz",
        "films.jsonl.xz",
    ]
    with Catalog.open(out / "catalog.db") as catalog:
        heat = catalog.by_ids(["tt0113277"])["tt0113277"]
        assert (heat.title, heat.year) == ("Heat", 1995)
        assert "genres" in catalog.list_columns


def test_a_film_is_found_by_its_imdb_id_or_else_by_title_and_year(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = [
        {"id": "tt0000001", "title": "Known", "year": 2000},
        {"id": "Q2", "title": "The Other", "year": 2001},
        {"id": "Q3", "title": "Late", "year": 2003},
        {"id": "tt0000009", "title": "Remake", "year": 2004},
        {"id": "Q5", "title": "Twice", "year": 2004},
        {"id": "Q6", "title": "Twice", "year": 2006},
    ]
    movies = [
        "0000001::Another title (1999)::Drama",  # the id counts
        "0000002::Other, The (2001)::",
        "0000003::Late (2002)::",  # a year apart
        "0000004::Remake (2004)::",  # that film has another id
        "0000005::Twice (2005)::",  # either could be it
        "0000006::Late (2001)::",  # two years apart
    ]
    for name, text in (
        ("films.jsonl.xz", [json.dumps(film) for film in films]),
        ("movies.dat.xz", movies),
        ("ratings.dat.xz", [f"7::000000{n}::{n}::100{n}" for n in range(1, 7)]),
    ):
        (tmp_path / name).write_bytes(lzma.compress("".join(f"{line}\n" for line in text).encode()))
    monkeypatch.setattr("genrec_edge.catalog.default_catalog._FILMS_PATH", tmp_path / "films.jsonl.xz")
    (tmp_path / "work").mkdir()
    made = tables(tmp_path, tmp_path / "work")
    rows = list(csv.DictReader(made.interactions.read_text(encoding="utf-8").splitlines()))
    assert [row["item"] for row in rows] == ["tt0000001", "Q2", "Q3", "Remake (2004)", "Twice (2005)", "Late (2001)"]
    assert rows[1] == {"user": "7", "item": "Q2", "timestamp": "1002", "rating": "2"}
    assert made.items == tmp_path / "films.jsonl.xz"


@pytest.mark.slow
def test_a_data_set_of_other_films_is_kept_and_named(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = bring("movietweetings", tmp_path / "mt")
    before = sha256_file(out / "interactions.csv")
    assert bring("movietweetings", out) == (out, [])
    few = tmp_path / "films.jsonl.xz"
    few.write_bytes(lzma.compress(json.dumps({"id": "tt0113277", "title": "Heat", "year": 1995}).encode()))
    monkeypatch.setattr("genrec_edge.catalog.default_catalog._FILMS_PATH", few)
    said = f"{out} was made of another version of films.jsonl.xz; pull it with --force to make it anew"
    assert bring("movietweetings", out) == (out, [said])
    assert sha256_file(out / "interactions.csv") == before
    bring("movietweetings", out, force=True)
    assert load(out).titles == (("Heat", 1995),)


@pytest.mark.slow
def test_books_come_out_of_a_checkout(tmp_path: Path) -> None:
    out, notes = bring("goodbooks", tmp_path / "books")
    dataset = load(out)
    rows = list(csv.DictReader(lines(BOOKS / "ratings.csv.xz")))
    assert (dataset.n_events, dataset.n_items, notes) == (len(rows), 10_000, [])
    place = next(i for i, row in enumerate(rows) if row["user_id"] == rows[-1]["user_id"])
    event = (dataset.user_ids[dataset.users[place]], dataset.item_ids[dataset.items[place]], dataset.timestamps[place])
    assert event == (rows[place]["user_id"], rows[place]["book_id"], place + 1)
    assert dataset.card["licence"] == "CC-BY-SA-4.0"
    with Catalog.open(out / "catalog.db") as catalog:
        book = catalog.by_ids(["2"])["2"]
        assert (book.title, book.year) == ("Harry Potter and the Sorcerer's Stone (Harry Potter, #1)", 1997)
        assert (book.columns["language"], book.columns["mean_rating"]) == ("eng", 4.44)
        assert catalog.list_values([book.row], ["authors"]) == {
            (book.row, "authors"): ["J.K. Rowling", "Mary GrandPré"]
        }


def test_an_installed_package_says_where_the_books_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_source, "_ROOT", tmp_path)
    with pytest.raises(UsageError, match="the files of goodbooks are not part of the installed package") as caught:
        bring("goodbooks", tmp_path / "books")
    assert caught.value.hint == "they are in examples/goodbooks/ of the source code; name that folder with `from`"
    with pytest.raises(UsageError, match="which movietweetings is made of") as caught:
        bring("movietweetings", tmp_path / "mt")
    assert caught.value.hint == "install the package again"
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_not_believed(tmp_path: Path) -> None:
    shutil.copytree(BOOKS, copied := tmp_path / "goodbooks")
    with (copied / "books.csv.xz").open("ab") as file:
        file.write(b"0")
    with pytest.raises(DatasetError, match=r"books\.csv\.xz has the sha256 .*, and goodbooks is made of"):
        bring("goodbooks", tmp_path / "books", from_=copied)
    (copied / "books.csv.xz").unlink()
    with pytest.raises(UsageError, match=r"does not have books\.csv\.xz, which goodbooks is made of"):
        bring("goodbooks", tmp_path / "books", from_=copied)
    with pytest.raises(UsageError, match="the data set 'ml-100k' is fetched with pip, not made of a folder"):
        bring("ml-100k", tmp_path / "ml", from_=copied)
    with pytest.raises(UsageError, match="is the data set 'made'"):
        bring("goodbooks", make(tmp_path))
    assert not (tmp_path / "books").exists()
