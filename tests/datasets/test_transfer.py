"""A data set's events among the films of the package."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets import transfer
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.histories import user_histories
from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files
from genrec_edge.datasets.item_facts import facts_of
from genrec_edge.datasets.transfer import among_shipped_films
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.datasets.folder import Dataset

pytestmark = pytest.mark.slow

ITEMS = {
    "a": ("Toy Story", 1995, "Toy Story"),
    "b": ("heat", 1995, "Heat"),
    "c": ("Alien", 1980, "Alien"),  # the year differs by one
    "d": ("Alien", 1990, None),
    "e": ("A Film of My Own", 1995, None),
    "f": ("Pulp Fiction", None, None),  # a title alone may be of another film
    "g": ("Fargo", 1996, "Fargo"),
}
"""Title and year of each item, and the title of the film that it is."""
MET = {"u1": "aebc", "u2": "ef", "u3": "dgfa", "u4": "cb"}


@pytest.fixture(autouse=True)
def _films(films_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The films of the package are built once for all tests."""
    monkeypatch.setattr(transfer, "default_catalog_path", lambda: films_path)


def made(folder: Path, items: dict[str, tuple[str, int | None, str | None]], met: dict[str, str]) -> Dataset:
    lines = ["id,title,year", *(f"{name},{title},{year or ''}" for name, (title, year, _) in items.items())]
    (folder / "items.csv").write_text("\n".join(lines), encoding="utf-8")
    events = [f"{user},{item},{place}" for user, own in met.items() for place, item in enumerate(own)]
    (folder / "events.csv").write_text("\n".join(["user,item,timestamp", *events]), encoding="utf-8")
    about, out = DatasetInfo("made", "Made", "CC0-1.0"), folder / "made"
    files = (folder / "events.csv", folder / "items.csv")
    return load(import_files(*files, out, about, ColumnNames(), force=False, on_event=lambda *_: None))


def test_events_are_those_of_films_that_are_found(tmp_path: Path, films_path: Path) -> None:
    dataset = made(tmp_path, ITEMS, MET)
    found, note = among_shipped_films(dataset)
    histories = [[found.titles[item][0] for item in own] for own in user_histories(found, "file")]
    expected = {user: [ITEMS[item][2] for item in own if ITEMS[item][2]] for user, own in MET.items()}
    assert dict(zip(found.user_ids, histories, strict=True)) == expected
    n_found = sum(map(len, expected.values()))
    with Catalog.open(films_path) as films:
        n_films = films.n_items
        assert found.card["catalog"]["revision"] == films.revision
        for item in np.unique(found.items).tolist():
            (film,) = films.items([int(found.rows[item])])
            assert (film.id, film.title, film.year) == (found.item_ids[item], *found.titles[item])
    assert found.n_items == n_films
    assert note == (
        f"4 of 7 films, {n_found} of 12 events are found among the {n_films:,} films that come with the package"
    )
    assert found.catalog_path == films_path
    assert found.filters == ("found among the films that come with the package",)
    assert found.path == dataset.path
    assert dataset.catalog_path == dataset.path / "catalog.db"
    assert dataset.card["catalog"]["revision"] != found.card["catalog"]["revision"]


def test_times_and_ratings_stay_with_their_events(tmp_path: Path) -> None:
    dataset = made(tmp_path, ITEMS, MET)
    ratings = np.arange(dataset.n_events, dtype=np.float32)
    found, _ = among_shipped_films(replace(dataset, ratings=ratings))
    at = {(user, time): n for n, (user, time) in enumerate(zip(dataset.users, dataset.timestamps, strict=True))}
    for user, time, rating in zip(found.users, found.timestamps, found.ratings, strict=True):
        assert at[user, time] == rating


def test_facts_are_those_of_the_films(tmp_path: Path) -> None:
    found, _ = among_shipped_films(made(tmp_path, ITEMS, MET))
    facts = facts_of(found)
    assert len(facts) == found.n_items
    directors = {
        found.titles[item][0]: {fact.value for fact in facts[item] if fact.column == "director"}
        for item in np.unique(found.items).tolist()
    }
    assert directors["Alien"] == {"Ridley Scott"}
    assert directors["Heat"] == {"Michael Mann"}


def test_a_data_set_of_something_else_is_refused(tmp_path: Path) -> None:
    dataset = made(tmp_path, {"x": ("A Book", 1990, None), "y": ("Another Book", 1991, None)}, {"u": "xy"})
    with pytest.raises(UsageError, match="no item of made is among the films that come with the package") as caught:
        among_shipped_films(dataset)
    assert caught.value.hint == "`transfer` is for data sets of films with title and year"
