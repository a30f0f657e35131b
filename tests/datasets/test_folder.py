"""Data sets on disk: reading MovieLens and a folder written by hand; damaged folders."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog import writer
from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import k_core, leave_one_out
from genrec_edge.errors import DatasetError, GenRecError, UsageError
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from genrec_edge.records import Ties


def raw_events(wheel_path: Path) -> list[tuple[str, str, float, float]]:
    """Return user, item, rating, time as they stand in the package."""
    with zipfile.ZipFile(wheel_path) as wheel:
        lines = wheel.read("recbole/dataset_example/ml-100k/ml-100k.inter").decode().splitlines()
    return [(u, i, float(r), float(t)) for u, i, r, t in (line.split("\t") for line in lines[1:])]


def test_movielens_keeps_every_event_and_its_order(ml_100k: Path, recbole_wheel: Path) -> None:
    dataset = load(ml_100k)
    found = [
        (dataset.user_ids[u], dataset.item_ids[i], float(r), float(t))
        for u, i, r, t in zip(dataset.users, dataset.items, dataset.ratings, dataset.timestamps, strict=True)
    ]
    assert found == raw_events(recbole_wheel)
    with Catalog.open(ml_100k / "catalog.db") as items:
        toys, monkeys = items.items([int(dataset.rows[dataset.item_ids.index(id_)]) for id_ in ("1", "7")])
        cartoons = items.filter("genres = 'Animation' AND director = 'John Lasseter'")
    assert (toys.title, toys.columns["genres"]) == ("Toy Story", "Animation, Comedy, Fantasy, Adventure")
    assert toys.row in cartoons
    # No film of the shipped catalog: what MovieLens itself says of it is kept.
    assert (monkeys.title, monkeys.columns["genres"]) == ("Twelve Monkeys", "Drama, Sci-Fi")
    assert monkeys.columns["director"] is None


@pytest.mark.parametrize(("ties", "hr", "ndcg"), [("item", 0.0498, 0.0251), ("file", 0.0838, 0.0436)])
def test_popularity_on_movielens_is_what_was_measured(
    ml_100k: Path, recbole_wheel: Path, ties: Ties, hr: float, ndcg: float
) -> None:
    """HR@10 and NDCG@10 of popularity, 5-core, trained on the training part, seen removed, equal scores share a rank.

    Source: the row of item order was measured with another program before this one was written.
    """
    dataset = load(ml_100k)
    split = leave_one_out(k_core(dataset, 5), ties)
    popularity = np.bincount(np.concatenate(split.train), minlength=split.n_items)
    in_core = popularity + np.bincount(np.concatenate([split.validation, split.test]), minlength=split.n_items) > 0
    ranks = []
    for user in split.users:
        allowed = in_core.copy()
        allowed[[*split.train[user], split.validation[user]]] = False
        scores, target = popularity[allowed], popularity[split.test[user]]
        ranks.append(1 + np.sum(scores > target) + (np.sum(scores == target) - 1) / 2)
    gains = [1 / math.log2(1 + rank) for rank in ranks if rank <= 10]
    assert (len(ranks), round(len(gains) / 943, 4), round(sum(gains) / 943, 4)) == (943, hr, ndcg)
    # The same targets, by a sort of the raw rows.
    rows = sorted(raw_events(recbole_wheel), key=lambda e: (e[3], int(e[1])) if ties == "item" else e[3])
    core_ids = {dataset.item_ids[i] for i in np.flatnonzero(in_core)}
    last = {user: item for user, item, _, _ in rows if item in core_ids}
    assert {dataset.user_ids[u]: dataset.item_ids[split.test[u]] for u in split.users} == last


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Returns a folder of a data set written by hand, not by the program that writes them."""
    folder = tmp_path / "small"
    folder.mkdir()
    (tmp_path / "items.csv").write_text("id,title,year\na,Alien,1979\nb,Brazil,1985\n", encoding="utf-8")
    writer.build(tmp_path / "items.csv", folder / "catalog.db")
    write_interactions(folder, "user,item,timestamp,rating\nx,b,10,4\ny,a,11,\n")
    return folder


def write_interactions(folder: Path, text: str, **changes: Any) -> None:
    """Write the events, and a card that fits them."""
    (folder / "interactions.csv").write_text(text, encoding="utf-8")
    with Catalog.open(folder / "catalog.db") as items:
        revision = items.revision
    card = {
        "schema": "genrec-edge/dataset@1",
        **dict.fromkeys(("name", "title", "licence", "terms"), "small"),
        "interactions": {"sha256": sha256_file(folder / "interactions.csv")},
        "catalog": {"revision": revision},
    }
    (folder / "card.json").write_text(json.dumps(card | changes), encoding="utf-8")


def test_a_data_set_is_found_by_its_folder_and_by_its_name(
    small: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load(small)
    assert (dataset.user_ids, dataset.item_ids) == (("x", "y"), ("a", "b"))
    assert (dataset.items.tolist(), dataset.titles) == ([1, 0], (("Alien", 1979), ("Brazil", 1985)))
    assert dataset.ratings[0] == 4
    assert math.isnan(dataset.ratings[1])
    assert load(small, min_rating=4.5).n_events == 1  # unrated events stay
    (own_home / "datasets").mkdir(parents=True)
    shutil.copytree(small, own_home / "datasets" / "kept")
    assert load("kept").n_events == load(str(small)).n_events == 2
    monkeypatch.chdir(small.parent)
    assert load("small").path == Path("small")


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("user,item,timestamp\nx,b,10\n", {}, "has the columns user, item, timestamp instead of user, item, "),
        ("user,item,timestamp,rating\nx,c,10,4\n", {}, "1 event cannot be used: line 2: unknown item 'c'"),
        ("user,item,timestamp,rating\n", {}, "has no events"),
        ("user,item,timestamp,rating\nx,b,10,4\n", {"schema": "x"}, "has the schema 'x', not 'genrec-edge/dataset@1'"),
        (
            "user,item,timestamp,rating\nx,b,10,4\n",
            {"interactions": 3, "licence": None},
            "missing, or not a text: licence, interactions.sha256",
        ),
        (
            "user,item,timestamp,rating\nx,b,10,4\n",
            {"catalog": {"revision": "other"}},
            "catalog.db was changed after the data set was made",
        ),
        (
            "user,item,timestamp,rating\nx,b,10,4\n",
            {"interactions": {"sha256": "0" * 64}},
            f"the card says {'0' * 64}",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(small: Path, text: str, changes: dict[str, Any], message: str) -> None:
    write_interactions(small, text, **changes)
    with pytest.raises(GenRecError) as caught:
        load(small)
    assert message in caught.value.message


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"schema": []}'])
def test_a_card_that_is_none_is_refused(small: Path, content: bytes) -> None:
    (small / "card.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"card\.json") as caught:
        load(small)
    assert "make it again" in caught.value.hint


def test_a_data_set_that_is_not_there(small: Path, own_home: Path) -> None:
    cases: list[tuple[str | Path, str]] = [
        ("nothing", "no data set 'nothing' in"),
        (small / "no", "there is no data set in"),
        (str(small / "no"), "there is no data set in"),
        ("..", r"\.\. is not a data set: it has no card\.json"),
        ("", "is not a data set"),
        ("x" * 5000, r"cannot be used \(File name too long\)"),
        ("a\0b", "there is no data set in"),
    ]
    for spec, message in cases:
        with pytest.raises(UsageError, match=message):
            load(spec)
    for file in ("catalog.db", "interactions.csv", "card.json"):
        shutil.copytree(small, folder := small.parent / file)
        (folder / file).unlink()
        with pytest.raises(UsageError, match=file):
            load(folder)
