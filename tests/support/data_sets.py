"""Catalogs, data sets of interactions and files of users, made up for tests."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from tests.support.folders import TRICKY_CSV

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def films_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog that comes with the package, built once."""
    home = tmp_path_factory.mktemp("films")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_CATALOGS", str(home))
        return default_catalog_path()


@pytest.fixture(scope="module")
def films(films_path: Path) -> Iterator[Catalog]:
    """The catalog that comes with the package, open."""
    with Catalog.open(films_path) as catalog:
        yield catalog


@pytest.fixture(scope="session")
def tricky_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the catalog of `data/tricky.csv`: 60 titles hard to tell apart, to spell or to tokenise.

    Tests that change a catalog copy it first.
    """
    path = tmp_path_factory.mktemp("tricky") / "tricky.db"
    build(TRICKY_CSV, path)
    return path


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of 12 films, two of them namesakes, and 6 users with 4 to 9 events each."""
    from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files

    folder = tmp_path_factory.mktemp("small")
    titles = [
        "A",
        "A1",
        "B",
        "B1",
        "C",
        "Alien (1979)",
        "Aliens (1986)",
        "Heat (1995)",
        "Heat (1995)",
        "Ran",
        "M",
        "Up",
    ]
    items = "".join(f"i{i},{title}\n" for i, title in enumerate(titles))
    (folder / "items.csv").write_text(f"id,title\n{items}", encoding="utf-8")
    rng = np.random.default_rng(5)
    met = [rng.permutation(12)[:n].tolist() for n in (4, 5, 6, 7, 8, 9)]
    events = "".join(f"u{u},i{item},{time}\n" for u, own in enumerate(met) for time, item in enumerate(own))
    (folder / "events.csv").write_text(f"user,item,timestamp\n{events}", encoding="utf-8")
    about, out = DatasetInfo("small", "Small", "CC0-1.0"), folder / "small"
    files = (folder / "events.csv", folder / "items.csv")
    return import_files(*files, out, about, ColumnNames(), force=False, on_event=lambda *_: None)


@pytest.fixture(scope="session")
def cycle_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of 20 films that 40 users watch in one order, from different films on, 5 to 14 each.

    Titles begin alike, contain each other, and one is there twice, so that its two items have one spelling.
    """
    from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files

    folder = tmp_path_factory.mktemp("cycle")
    titles = (
        "Alien,Aliens,Alien 3,The Thing,The Thing from Space,Heat,Heat Wave,Up,Upgrade,Jaws,Jaws 2,Rocky,Rocky II,"
        "Rocky III,The Fly,Big,Big Fish,Big,Fargo,Ran"
    )
    items = "".join(f"i{i},{title},1980\n" for i, title in enumerate(titles.split(",")))
    (folder / "items.csv").write_text(f"id,title,year\n{items}", encoding="utf-8")
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(20, size=40), rng.integers(5, 15, size=40)
    met = [
        (user, (start + k) % 20, k)
        for user, (start, n) in enumerate(zip(starts, lengths, strict=True))
        for k in range(n)
    ]
    events = "".join(f"u{user},i{item},{time}\n" for user, item, time in met)
    (folder / "events.csv").write_text(f"user,item,timestamp\n{events}", encoding="utf-8")
    about, out = DatasetInfo("cycle", "Cycle", "CC0-1.0"), folder / "cycle"
    files = (folder / "events.csv", folder / "items.csv")
    return import_files(*files, out, about, ColumnNames(), force=False, on_event=lambda *_: None)


@pytest.fixture(scope="session")
def facts_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of 24 films with genres, directors and decades, of which 40 users watch those of one genre.

    Two of the films have one spelling.
    """
    from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files

    folder = tmp_path_factory.mktemp("facts")
    titles = [
        f"{'The ' * (i % 2)}{['Red', 'Blue', 'Green', 'Old', 'New', 'Last'][i % 6]} {'Moon'[: 1 + i % 4]}{i // 12}"
        for i in range(24)
    ]
    titles[7] = titles[1]
    lines = ["id,title,year,genres,director"]
    for i, title in enumerate(titles):
        genre, director = ("Comedy", "Drama", "Horror")[i % 3], f"Director {'ABCD'[i % 4]}"
        lines.append(f"i{i},{title},{1985 + i % 2 * 10},{genre}|{'War' if i % 5 else 'Family'},{director}")
    (folder / "items.csv").write_text("\n".join(lines), encoding="utf-8")
    rng = np.random.default_rng(0)
    events = ["user,item,timestamp"]
    for user in range(40):
        own = rng.permutation(np.arange(user % 3, 24, 3))[: 5 + user % 4]
        events += [f"u{user},i{item},{time}" for time, item in enumerate(own.tolist())]
    (folder / "events.csv").write_text("\n".join(events), encoding="utf-8")
    about, out = DatasetInfo("facts", "Facts", "CC0-1.0"), folder / "facts"
    files = (folder / "events.csv", folder / "items.csv")
    return import_files(*files, out, about, ColumnNames(), force=False, on_event=lambda *_: None)


@pytest.fixture(scope="session")
def job_users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a file of 56 users of the tricky catalog; some cannot be answered, and one asks for 13 items."""
    rng = random.Random(0)
    titles = ["Toy Story", "Alien", "Aliens", "Alien Nation", "Matrix, The", "Amélie"]
    path = tmp_path_factory.mktemp("users") / "users.jsonl"
    rows: list[dict[str, Any]] = [
        {"user": f"u{n}", "history": rng.sample(titles, rng.randint(1, 5))} for n in range(56)
    ]
    rows[3]["history"] = ["no such title at all", "nor this one"]
    rows[20]["k"] = 1000
    rows[21] |= {"where": "colour = 'red'"}
    rows[40] |= {"k": 13}
    rows[41]["history"] = [{"id": "004", "rating": 5, "timestamp": 2}, {"title": "Toy Story", "timestamp": 1}]
    rows[42] |= {"where": "year < 1990", "exclude": ["Aliens"], "k": 2, "preference": None}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
